"""The wheel holds what an installation needs, and asks for no more."""

from __future__ import annotations

import configparser
import re
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # a build backend builds the project that it stands in
        return ZipFile(folder / build_wheel(str(folder)))


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    return Parser().parsestr(_dist_info(wheel, "METADATA"))


def _dist_info(wheel: ZipFile, name: str) -> str:
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def _name(requirement: str) -> str:
    """The distribution that a requirement is for, spelt one way."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_wheel_has_every_module_and_the_types_marker(wheel: ZipFile) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "orchestrator").rglob("*.py")}
    assert modules | {"orchestrator/py.typed"} <= set(wheel.namelist())


def test_wheel_has_nothing_else(wheel: ZipFile) -> None:
    tops = {path.split("/")[0] for path in wheel.namelist()}
    data = {top for top in tops if top.endswith(".data")}
    assert {top for top in tops - data if not top.endswith(".dist-info")} == {"orchestrator"}


def test_wheel_has_the_manual_pages(wheel: ZipFile) -> None:
    pages = {path.name for path in (ROOT / "man").glob("*.1")}
    inside = {path for path in wheel.namelist() if ".data/" in path}
    assert {Path(path).name for path in inside} == pages >= {"orch.1", "orch-launch.1"}
    assert all("/share/man/man1/" in path for path in inside)


def test_wheel_installs_the_command_orch(wheel: ZipFile) -> None:
    scripts = configparser.ConfigParser()
    scripts.read_string(_dist_info(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"orch": "orchestrator.cli:main"}


def test_wheel_does_not_require_torch(metadata: Message) -> None:
    needs = metadata.get_all("Requires-Dist", [])
    always = {_name(need) for need in needs if "extra ==" not in need}
    assert "asyncssh" in always
    assert always.isdisjoint({"torch", "lightning", "scikit-learn", "numpy"})
    assert any(need.startswith("torch>=") and "extra == 'torch'" in need for need in needs)


def test_wheel_has_the_license(wheel: ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in _dist_info(wheel, "licenses/LICENSE")


# -- what the scripts install ----------------------------------------------------------------------


def _pins() -> dict[str, list[str]]:
    """The hashes that constraints.txt has, by distribution."""
    text = (ROOT / "constraints.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {_name(line): re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line) for line in lines}


def test_everything_installed_directly_is_pinned_with_hashes(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needs = [
        *metadata.get_all("Requires-Dist", []),
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    pins = _pins()
    assert {_name(need) for need in needs} <= {name for name, hashes in pins.items() if hashes}


def test_every_pin_has_one_version_and_hashes() -> None:
    text = (ROOT / "constraints.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.match(r"[\w.-]+==[\w.]+ ", line) for line in lines)
    assert all(_pins().values())
    assert len(_pins()) == len(lines)
