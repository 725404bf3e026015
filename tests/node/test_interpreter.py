"""The interpreter of the job on a node, with and without imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node.probes import code, login, look, software, start

from .conftest import AgentProcess


def package(folder: Path, name: str, **files: str) -> Path:
    """Write a package; `__init__` is empty by default."""
    place = folder / name
    place.mkdir(parents=True)
    for file, text in {"__init__": "", **files}.items():
        (place / f"{file}.py").write_text(text)
    return place


def found(
    *names: str, folder: str = "/", environment: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    workdir = more.pop("workdir", "/")
    return software.software(list(names), folder, workdir, environment or {}, [], **more)


def on_path(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(folder)}


TYPED_VERSION = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '2.13.0+cu130'
debug = False
cuda: Optional[str] = '13.0'
git_version = 'cf30153c4c131c8164ee7798e5022d810682e2cb'
hip: Optional[str] = None
"""

DRIVER = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""

# -- versions --------------------------------------------------------------------------------------


def test_software_is_of_the_agents_interpreter() -> None:
    answer = found()
    assert answer["kernel"] == os.uname().release
    assert answer["interpreter"]["executable"] == sys.executable
    assert answer["interpreter"]["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    assert answer["broken"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TYPED_VERSION,
            {"version": "2.13.0+cu130", "cuda": "13.0", "hip": None},
        ),
        (
            "__version__ = '2.1.2'\ndebug = False\ncuda = '12.1'\nhip = None\n",
            {"version": "2.1.2", "cuda": "12.1", "hip": None},
        ),
        (
            "__version__ = '2.9.1+rocm6.4'\ncuda: Optional[str] = None\nhip: Optional[str] = '6.4.4'\n",
            {"version": "2.9.1+rocm6.4", "cuda": None, "hip": "6.4.4"},
        ),
        ("", {"version": None, "cuda": None, "hip": None}),
    ],
)
def test_torch_version_is_read_without_import(
    tmp_path: Path, text: str, expected: dict[str, Any]
) -> None:
    package(tmp_path, "torch", __init__="raise SystemExit('imported')", version=text)
    assert found(environment=on_path(tmp_path))["interpreter"]["torch"] == expected


def test_distribution_is_the_first_on_the_path(tmp_path: Path) -> None:
    for place, name in (
        ("a", "lightning-2.4.0"),
        ("b", "lightning-2.5.0"),
        ("b", "nvidia_nccl_cu12-2.27.3"),
    ):
        (tmp_path / place / f"{name}.dist-info").mkdir(parents=True)
    answer = found(environment={"PYTHONPATH": f"{tmp_path}/a:{tmp_path}/b"})
    distributions = answer["interpreter"]["distributions"]
    assert distributions["lightning"] == "2.4.0"
    assert distributions["nvidia-nccl-cu12"] == "2.27.3"


def test_software_in_broken_environment_says_why() -> None:
    answer = found(environment={"PYTHONHOME": "/nowhere"})
    assert answer["interpreter"] is None
    assert "encodings" in answer["broken"]


def test_output_of_sitecustomize_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('{\"python\": \"9\"} welcome', end='')")
    assert found(environment=on_path(tmp_path))["interpreter"]["python"].startswith("3.")


def test_variable_unset_for_the_job_is_unset_for_software(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    answer = software.software([], "/", "/", {}, ["PYTHONHOME"])
    assert answer["broken"] is None


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "proc/driver/nvidia/version",
            DRIVER,
            "535.183.01",
        ),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)\n",
            "570.86.15",
        ),
        ("sys/module/nvidia/version", "550.54.15\n", "550.54.15"),
        ("proc/driver/nvidia/version", "\0garbage", None),
        ("proc/nothing", "", None),
    ],
)
def test_driver_is_the_loaded_one(
    tmp_path: Path, path: str, text: str, expected: str | None
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert found(root=str(tmp_path))["driver"] == expected


# -- modules ---------------------------------------------------------------------------------------


def test_modules_are_found_on_the_jobs_path(tmp_path: Path) -> None:
    package(tmp_path / "there", "by_path")
    package(tmp_path / "script", "beside")
    answer = found(
        "os", "by_path", "beside", "far_away", "numpy_", folder=str(tmp_path / "script"),
        environment=on_path(tmp_path / "there"),
    )  # fmt: skip
    assert answer["interpreter"]["missing"] == ["far_away", "numpy_"]


def test_relative_pythonpath_starts_at_the_working_folder(tmp_path: Path) -> None:
    package(tmp_path / "lib", "own")
    environment = {"PYTHONPATH": "lib"}
    inside = found("own", workdir=str(tmp_path), environment=environment)
    assert inside["interpreter"]["missing"] == []
    outside = found("own", workdir=str(tmp_path / "not-yet"), environment=environment)
    assert outside["interpreter"]["missing"] == ["own"]


def test_safe_path_leaves_out_the_scripts_folder(tmp_path: Path) -> None:
    package(tmp_path / "lib", "by_path")
    package(tmp_path / "script", "beside")
    environment = {**on_path(tmp_path / "lib"), "PYTHONSAFEPATH": "1"}
    answer = found("by_path", "beside", folder=str(tmp_path / "script"), environment=environment)
    assert answer["interpreter"]["missing"] == ["beside"]


def test_system_python_is_managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert not look._is_managed()
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert look._is_managed()
    monkeypatch.setattr(sys, "prefix", "/opt/venv")
    assert not look._is_managed()


def test_environments_with_torch_are_found_in_the_usual_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for place in ("venv", "job/.venv", "miniconda3/envs/train", "empty"):
        python = tmp_path / place / "bin/python"
        python.parent.mkdir(parents=True)
        python.touch(mode=0o755)
        if place != "empty":
            package(tmp_path / place / "lib/python3.11/site-packages", "torch", version="")
    having = ("venv", "job/.venv", "miniconda3/envs/train")
    assert set(look._with_torch()) == {str(tmp_path / place / "bin/python") for place in having}


def test_module_of_broken_finder_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass F:\n    @staticmethod\n    def find_spec(*a):\n"
        "        if a[0] == 'odd': raise ImportError\n"
        "sys.meta_path.insert(0, F)\n"
    )
    assert found("odd", "gone", environment=on_path(tmp_path))["interpreter"]["missing"] == ["gone"]


# -- torch and the launcher, started ---------------------------------------------------------------

TORCH = """
print("noise of an import")
__version__ = "2.13.0"
class _C:
    _nccl_version = True
class cuda:
    is_available = staticmethod(lambda: False)
    class nccl:
        version = staticmethod(lambda: (2, 28, 3))
    @staticmethod
    def current_device():
        raise RuntimeError("Error 802: system not yet initialized")
"""


def test_start_reports_versions_of_torch_and_why_cuda_fails(tmp_path: Path) -> None:
    package(tmp_path, "torch", __init__=TORCH)
    package(tmp_path, "launch", __main__="import sys; print(sys.argv); sys.exit(0)")
    answer = software.start("launch", "/", on_path(tmp_path), [])
    assert answer["code"] == 0
    assert answer["torch"] == {
        "version": "2.13.0",
        "nccl": "2.28.3",
        "cuda": False,
        "why": "Error 802: system not yet initialized",
    }


@pytest.mark.parametrize(
    ("launcher", "code", "error"),
    [
        ("", 0, "noise of an import"),
        ("gone.away", 1, "(ModuleNotFoundError: No module named 'gone')"),
        ("broken", 1, "ValueError: no good"),
        ("refusing", 3, "you must have `click` installed"),
    ],
)
def test_start_of_failing_launcher_has_its_error_line(
    tmp_path: Path, launcher: str, code: int, error: str
) -> None:
    package(tmp_path, "torch", __init__=TORCH)
    (tmp_path / "broken.py").write_text("raise ValueError('no good')\n")
    (tmp_path / "refusing.py").write_text(
        "import sys\nprint('you must have `click` installed', file=sys.stderr)\nsys.exit(3)\n"
    )
    answer = software.start(launcher, "/", on_path(tmp_path), [])
    assert (answer["code"], answer["torch"]["version"]) == (code, "2.13.0")
    assert error in answer["error"]


def test_start_of_broken_torch_says_why(tmp_path: Path) -> None:
    package(tmp_path, "torch", __init__="raise ImportError('libcudart.so.12: cannot open')")
    answer = software.start("", "/", on_path(tmp_path), [])
    assert answer["torch"] is None
    assert answer["error"] == "ImportError: libcudart.so.12: cannot open"


def test_start_of_hanging_import_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "_START_TIMEOUT", 0.3)
    package(tmp_path, "torch", __init__="import time\ntime.sleep(600)")
    answer = software.start("", "/", on_path(tmp_path), [])
    assert (answer["code"], answer["torch"]) == (None, None)


def test_agent_runs_look_from_source_and_compiled_package(agent: AgentProcess) -> None:
    probes = {
        "software": {
            "names": ["os", "far_away"], "folder": "/", "workdir": "/", "environment": {}, "unset": [],
        }
    }  # fmt: skip
    (app,) = agent.home.rglob("node-*.pyz")
    subprocess.run([sys.executable, "-IS", str(app), "compile"], check=True, timeout=60)
    compiled = AgentProcess(agent.home)
    for each in (agent, compiled):
        answer = each.ask("check", limit=20, probes=probes)["ok"]["software"]
        assert answer["ok"]["interpreter"]["missing"] == ["far_away"]
    compiled.close()


# -- variables and code ----------------------------------------------------------------------------


def test_variables_are_only_those_of_communication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(login.variables()):
        monkeypatch.delenv(name)
    for name in ("NCCL_DEBUG", "GLOO_SOCKET_IFNAME", "FI_PROVIDER", "OMP_NUM_THREADS", "MY_TOKEN"):
        monkeypatch.setenv(name, "x" * 1000)
    answer = login.variables()
    assert sorted(answer) == ["FI_PROVIDER", "GLOO_SOCKET_IFNAME", "NCCL_DEBUG", "OMP_NUM_THREADS"]
    assert {len(value) for value in answer.values()} == {500}


def test_code_has_the_hash_of_each_source_file(tmp_path: Path) -> None:
    package(tmp_path, "own", net="x = 1\n")
    for place in (".git", "__pycache__", "outputs", "venv"):
        package(tmp_path / place, "hidden")
    (tmp_path / "venv/pyvenv.cfg").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "config.yaml").write_text("a: 1")
    (tmp_path / "loop.py").symlink_to("loop.py")
    answer = code.code(str(tmp_path))
    assert answer is not None
    assert sorted(answer["files"]) == ["config.yaml", "own/__init__.py", "own/net.py"]
    before = answer["files"]["own/net.py"]
    (tmp_path / "own/net.py").write_text("x = 2\n")
    after = code.code(str(tmp_path))
    assert after is not None and after["files"]["own/net.py"] != before


def test_code_of_missing_folder_is_none(tmp_path: Path) -> None:
    assert code.code(str(tmp_path / "none")) is None


def test_code_of_too_many_files_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_MAX_FILES", 2)
    package(tmp_path, "own", a="", b="", c="")
    answer = code.code(str(tmp_path))
    assert answer is not None
    assert (len(answer["files"]), answer["cut"]) == (2, True)


@pytest.mark.parametrize("module", [look, start, software, code, login])
def test_software_probes_are_python_3_8(module: Any) -> None:
    ast.parse(Path(module.__file__).read_text(), feature_version=(3, 8))
