"""What a script needs on every node, read from its imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.preflight.model import Script
from orchestrator.preflight.script.imports import needs


def script(folder: Path, text: str, name: str = "train.py", **others: str) -> Script:
    """Write a script and its neighbours (`own__data` is own/data.py); return it."""
    for other, content in others.items():
        path = folder / (other.replace("__", "/").replace("/init/", "/__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return Script(folder / name, text, folder)


def modules(found: Script) -> list[str]:
    return list(needs(found).imports)


def test_needs_have_each_module_once_with_its_first_place(tmp_path: Path) -> None:
    found = script(
        tmp_path, "import os\nimport torch.nn as nn\nfrom torch import optim\nimport cv2\n"
    )
    assert needs(found).imports == {
        "os": f"{tmp_path}/train.py:1",
        "torch": f"{tmp_path}/train.py:2",
        "cv2": f"{tmp_path}/train.py:4",
    }


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import apex\nexcept ImportError:\n    apex = None",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import apex",
        "import sys\nif sys.platform == 'win32':\n    import apex",
        "def profile():\n    import apex",
        "from contextlib import suppress\nwith suppress(ImportError):\n    import apex",
        "raise SystemExit(0)\nimport apex",
        "from . import apex",
    ],
)
def test_needs_leave_out_imports_that_may_not_run(tmp_path: Path, text: str) -> None:
    assert "apex" not in modules(script(tmp_path, text))


def test_needs_have_imports_of_a_function_that_is_called(tmp_path: Path) -> None:
    text = "def main():\n    import wandb\nif __name__ == '__main__':\n    main()"
    assert modules(script(tmp_path, text)) == ["wandb"]


def test_needs_follow_the_own_modules_of_the_script(tmp_path: Path) -> None:
    found = script(
        tmp_path,
        "import data\nfrom model.net import Net\nfrom model import heads\n",
        data="import pandas\nif __name__ == '__main__':\n    import typer\n",
        model____init__="import einops\n",
        model__net="import timm\nimport data\n",
        model__heads="import scipy\n",
    )
    assert sorted(modules(found)) == ["einops", "pandas", "scipy", "timm"]
    assert f"{tmp_path}/model/net.py:1" in needs(found).imports.values()


def test_needs_leave_out_packages_of_the_project_for_a_script_in_a_subfolder(
    tmp_path: Path,
) -> None:
    found = script(tmp_path, "import lib.x\nimport far", "jobs/train.py", lib__x="", src__far="")
    assert modules(found) == []


def test_needs_have_a_module_with_the_name_of_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/run.json").write_text("{}")
    assert modules(script(tmp_path, "import wandb")) == ["wandb"]


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.path.insert(0, '/opt/tools')\nimport tools",
        "from sys import path\npath.append('/opt/tools')\nimport tools",
        "from site import addsitedir\naddsitedir('/x')\nimport tools",
        "exec(open('paths.py').read())\nimport tools",
        "import os\nos.system('pip3 -q install tools')\nimport tools",
        "import subprocess\nsubprocess.run(['pip', 'install', 'tools'])\nimport tools",
    ],
)
def test_needs_of_a_script_that_changes_imports_are_not_settled(tmp_path: Path, text: str) -> None:
    assert not needs(script(tmp_path, text)).settled
    assert needs(script(tmp_path, "import tools")).settled


def test_needs_of_a_module_that_changes_imports_are_not_settled(tmp_path: Path) -> None:
    hack = "import sys\nsys.path.append('/opt/tools')"
    own = {"pkg____init__": "from . import setup", "pkg__setup": "from .deep import x"}
    assert needs(script(tmp_path, "import pkg\nimport tools", **own, pkg__deep="")).settled
    assert not needs(script(tmp_path, "import pkg\nimport tools", **own, pkg__deep=hack)).settled


def test_needs_follow_a_package_with_only_subpackages(tmp_path: Path) -> None:
    found = script(tmp_path, "import code.models.net", code__models__net="import timm")
    assert modules(found) == ["timm"]


@pytest.mark.parametrize("file", ["fast.so", "fast.cpython-311-x86_64-linux-gnu.so", "fast.pyx"])
def test_needs_leave_out_compiled_modules_of_the_project(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    assert modules(script(tmp_path, "import fast")) == []


def test_needs_of_a_script_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_bytes(b"\xef\xbb\xbfimport own\r\nimport torch\r\n")
    (tmp_path / "own.py").write_bytes(b"\xef\xbb\xbfimport cv2\n")
    assert modules(Script.read(tmp_path / "train.py", tmp_path)) == ["torch", "cv2"]


def test_needs_of_a_script_that_cannot_be_parsed_are_empty(tmp_path: Path) -> None:
    assert modules(script(tmp_path, "import torch\nthis is no Python")) == []


def test_needs_follow_a_limited_number_of_own_modules(tmp_path: Path) -> None:
    others = {f"own{i}": f"import far{i}" for i in range(30)}
    found = script(tmp_path, "\n".join(f"import {name}" for name in others), **others)
    assert len(modules(found)) == 19
