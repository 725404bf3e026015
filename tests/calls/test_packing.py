"""A call as files for the nodes."""

from __future__ import annotations

import functools
import json
import pickle
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calls import packing
from orchestrator.calls.packing import files_of, pack, script_of
from orchestrator.errors import UsageError

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def packed(
    function: Any, *args: Any, source: Path | None = None, **kwargs: Any
) -> packing.PackedCall:
    return pack(function, args, kwargs, source=source, cwd=source or Path.cwd(), trust=False)


def test_function_of_a_module_goes_by_name() -> None:
    call = packed(json.dumps, [1], indent=2)
    assert call.name == "dumps"
    assert call.python is None
    assert pickle.loads(call.files["call.pickle"]) == (json.dumps, ([1],), {"indent": 2})


def test_lambda_goes_by_value_and_needs_this_version_of_python() -> None:
    factor = 7
    call = packed(lambda x: x * factor)
    assert (call.name, call.python) == ("lambda", HERE)
    function, _, _ = pickle.loads(call.files["call.pickle"])
    assert function(6) == 42


def test_partial_has_the_name_of_its_function() -> None:
    assert packed(functools.partial(json.dumps, [1])).name == "dumps"


def test_script_for_the_checks_names_what_the_function_needs() -> None:
    def train() -> None:
        import one_module  # type: ignore[import-not-found]

        one_module.go(UsageError, zipfile)

    call = packed(train)
    assert "import one_module" in call.script
    assert call.script.rstrip().endswith("train()")
    assert "orchestrator" not in call.script.partition("def train")[0]


@pytest.mark.torch
def test_script_for_the_checks_imports_modules_of_globals_and_arguments() -> None:
    import numpy as np

    assert packed(lambda: np.ones(1)).script == "import numpy\n"
    assert "import numpy" in packed(print, np.ones(1)).script


def test_argument_that_cannot_be_pickled_is_an_error_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"print\(\) cannot be sent to the nodes: .*lock"):
        packed(print, threading.Lock())


def test_call_of_more_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_CALL", 1000)
    with pytest.raises(UsageError, match="pass its path"):
        packed(print, b"x" * 1001)


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    packed(print, 1).write(tmp_path)
    files = [*files_of(tmp_path), script_of(tmp_path)]
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_folders_of_the_project_on_the_path_are_named_for_the_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "src"), "/usr/lib", str(tmp_path), *sys.path])
    said = json.loads(packed(print, source=tmp_path).files["call.json"])
    assert said["path"] == ["src", "."]
