"""What scripts/environment installs, from where, and its messages."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from setupkit.pins import needs_of_project, pinned, pins
from setupkit.progress import Progress, follow
from typer.main import get_command

from orchestrator.cli.app import app

ROOT = Path(__file__).parents[1]
VERSION = "2.3.4"


# -- pins -------------------------------------------------------------------------------------------


def test_pin_has_the_hashes_and_the_marker() -> None:
    text = (
        "# head\na-b==1 ; sys_platform == 'linux' \\\n"
        "    --hash=sha256:1 \\\n    --hash=sha256:2\nc==3\n"
    )
    assert pins(text).keys() == {"a-b", "c"}
    assert list(pinned(["A_b[x]>=1", "c", "a.b"], text)) == [
        "a-b==1 ; sys_platform == 'linux'     --hash=sha256:1     --hash=sha256:2",
        "c==3",
    ]


def test_requirement_without_a_pin_raises_key_error() -> None:
    with pytest.raises(KeyError, match="other"):
        list(pinned(["other>=1"], "c==3\n"))


def test_needs_of_project_has_build_runtime_and_prepare() -> None:
    settings = {
        "build-system": {"requires": ["b"]},
        "project": {
            "dependencies": ["d"],
            "optional-dependencies": {"examples": ["e"], "prepare": ["p"], "torch": ["t"]},
        },
    }
    assert list(needs_of_project(settings)) == ["b", "d", "e", "p"]


# -- progress ---------------------------------------------------------------------------------------

DOWNLOAD = [
    "Collecting torch==2.3.4+cpu",
    "  Downloading https://host.test/whl/torch-2.3.4.whl (200 MB)",
    "Progress 0 of 200000000",
    "Progress 100000000 of 200000000",
    "Installing collected packages: mpmath, torch",
    "Successfully installed mpmath torch",
]


def test_progress_in_a_pipe_is_a_line_every_few_seconds() -> None:
    out, times = io.StringIO(), iter([0.0, 6.0, 6.0, 6.1, 6.1])
    follow(DOWNLOAD, Progress(out, clock=lambda: next(times)))
    assert out.getvalue().splitlines() == [
        "  downloading torch-2.3.4.whl:  50 % of 200.0 MB",
        "  installing 2 packages",
    ]


def test_progress_of_a_quick_download_in_a_pipe_is_not_shown() -> None:
    out = io.StringIO()
    follow(DOWNLOAD[:4], Progress(out, clock=lambda: 0.0))
    assert out.getvalue() == ""


def test_progress_on_a_terminal_is_one_line_that_is_cleared() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    follow(DOWNLOAD, Progress(out, clock=lambda: 0.0))
    assert "\r  downloading torch-2.3.4.whl:  50 % of 200.0 MB\x1b[K" in out.getvalue()
    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")


# -- which torch ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small torch, and a virtual environment with this pip."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (site,) = (folder / ".venv").glob("lib/python*/site-packages")
    for file in distribution("pip").files or ():
        if file.parts[0] == "pip" or file.parts[0].startswith("pip-"):
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), site / file)
    (folder / "scripts").symlink_to(ROOT / "scripts")
    builds = [
        _wheel(folder / "cpu/torch", f"{VERSION}+cpu"),
        _wheel(folder / "pypi/torch", VERSION),
    ]
    hashes = [hashlib.sha256(build.read_bytes()).hexdigest() for build in builds]
    pin = " \\\n".join([f"torch=={VERSION}", *(f"    --hash=sha256:{each}" for each in hashes)])
    (folder / "constraints.txt").write_text(f"{pin}\n")
    return folder


def _wheel(folder: Path, version: str) -> Path:
    """Write a small distribution named torch into the folder of an index."""
    info = f"torch-{version}.dist-info"
    files = {
        "torch/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(parents=True)
    path = folder / f"torch-{version}-py3-none-any.whl"
    with ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    (folder / "index.html").write_text(f'<a href="{path.name.replace("+", "%2B")}">{path.name}</a>')
    return path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def indices(project: Path) -> Iterator[str]:
    """The URL under which `cpu` and `pypi` of the project are package indices."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(project)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def install_torch(project: Path, **variables: str) -> tuple[str, str]:
    """Run `install_torch`; return the version of torch and the messages. torch is uninstalled again."""
    command = "\n".join(
        [
            "set -euo pipefail",
            "source scripts/environment",
            *(
                f"{name}={value}"
                for name, value in variables.items()
                if name.islower() or "CPU" in name
            ),
            f"installer=pip torch_version={VERSION}",
            "install_torch",
            "torch_there",
            ".venv/bin/python -m pip -q uninstall -y torch",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=project, capture_output=True, text=True, check=False,
        env={
            "PATH": os.environ["PATH"], "HOME": str(project), "PIP_CONFIG_FILE": os.devnull,
            **{name: value for name, value in variables.items() if name.startswith("PIP")},
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip(), done.stderr


linux = pytest.mark.skipif(sys.platform != "linux", reason="torch from PyPI has CUDA only on Linux")


@linux
def test_cpu_build_is_installed_from_the_index_of_pytorch(project: Path, indices: str) -> None:
    torch, said = install_torch(
        project, CPU_BUILDS=f"{indices}/cpu", PIP_INDEX_URL=f"{indices}/pypi"
    )
    assert torch == f"{VERSION}+cpu"
    assert f"the CPU build from {indices}/cpu" in said


@linux
def test_size_of_the_cuda_build_is_shown_if_the_index_does_not_answer(
    project: Path, indices: str
) -> None:
    torch, said = install_torch(
        project, CPU_BUILDS="http://127.0.0.1:9/cpu", PIP_INDEX_URL=f"{indices}/pypi"
    )
    assert torch == VERSION
    assert "with CUDA from PyPI instead: 2.7 GB to download" in said
    assert "5.2 GB on the disk" in said


@linux
def test_cpu_build_that_pip_finds_is_installed_without_another_index(
    project: Path, indices: str
) -> None:
    torch, said = install_torch(
        project, CPU_BUILDS="http://127.0.0.1:9/cpu", PIP_INDEX_URL=f"{indices}/cpu"
    )
    assert torch == f"{VERSION}+cpu"
    assert "the CPU build\n" in said


@linux
def test_file_with_another_hash_is_not_installed(project: Path, indices: str) -> None:
    kept = (project / "constraints.txt").read_text()
    (project / "constraints.txt").write_text(f"torch=={VERSION} --hash=sha256:{'0' * 64}\n")
    try:
        with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
            install_torch(
                project, CPU_BUILDS="http://127.0.0.1:9/cpu", PIP_INDEX_URL=f"{indices}/pypi"
            )
    finally:
        (project / "constraints.txt").write_text(kept)


# -- uv or pip ---------------------------------------------------------------------------------------


def chosen_installer(folder: Path, uv_help: str | None, **variables: str) -> str:
    """Return the installer that is chosen with a uv with this help text, or without uv (None)."""
    (folder / "bin").mkdir()
    if uv_help is not None:
        (folder / "bin/uv").write_text(f"#!/bin/sh\necho '{uv_help}'\n")
        (folder / "bin/uv").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f'source {ROOT}/scripts/environment; choose_installer; echo "$installer"'],
        capture_output=True, text=True, check=True,
        env={
            "PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull, **variables,
        },
    )  # fmt: skip
    return done.stdout.strip()


def test_uv_is_chosen_if_available(tmp_path: Path) -> None:
    assert chosen_installer(tmp_path, "--require-hashes") == "uv"


def test_uv_without_hashes_is_not_chosen(tmp_path: Path) -> None:
    assert chosen_installer(tmp_path, "--upgrade") == "pip"


def test_pip_is_chosen_without_uv(tmp_path: Path) -> None:
    assert chosen_installer(tmp_path, None) == "pip"


def test_pip_with_a_configured_source_is_chosen_instead_of_uv(tmp_path: Path) -> None:
    assert chosen_installer(tmp_path, "--require-hashes", PIP_FIND_LINKS="/srv/wheels") == "pip"


# -- the demonstration ------------------------------------------------------------------------------


def test_commands_in_the_demonstration_exist() -> None:
    named = re.findall(r"^  orch (\w+)", (ROOT / "scripts/demo").read_text(), re.MULTILINE)
    assert {"init", "launch"} <= set(named) <= set(get_command(app).commands)  # type: ignore[attr-defined]


def test_failed_installation_shows_how_to_configure_a_proxy_or_mirror(project: Path) -> None:
    command = (
        "set -euo pipefail; source scripts/environment; installer=pip; touch pyproject.toml; "
        "layer x 'something' false"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "export HTTPS_PROXY=" in done.stderr
    assert "export PIP_INDEX_URL=" in done.stderr
    assert not (project / ".venv/installed-x").exists()
