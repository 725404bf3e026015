"""Rooms of the package import only rooms below them, and no imports are circular."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(orchestrator.__file__).parent

_GROUND = {"diagnose", "errors", "inventory", "logs", "node", "reasons", "slurm", "util", "version"}
_CORE = _GROUND | {"calls"} | {"events", "plan", "remote"}
_RUNS = _CORE | {"hangs", "preflight", "sync"}
_PIPELINE = _RUNS | {"runs"}
_CONTROL = _PIPELINE | {"pipeline"}
_API = _CONTROL | {"control", "provision"}

# From the top: room -> the rooms that it may import. docs/decisions/0004-rooms.md says what each contains.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"api", "errors", "events", "inventory", "ui", "util", "version"},
    "ui": _CORE | {"api", "hangs", "preflight", "provision"},
    "": _API | {"api", "ui"},
    "api": _API,
    "control": _CONTROL,
    "pipeline": _PIPELINE,
    "runs": _CORE | {"hangs", "sync"},
    "provision": {"errors", "inventory", "remote", "util"},
    "preflight": _CORE - {"events"},
    "hangs": _CORE - {"events"},
    "sync": _CORE - {"events"},
    "events": {"errors", "logs", "node", "plan", "reasons"},
    "calls": {"errors", "node", "util"},
    "plan": {"errors", "inventory", "node", "util"},
    "remote": {"errors", "inventory", "node", "reasons", "slurm", "util"},
    "diagnose": {"errors", "logs", "util"},
    "logs": {"errors", "node", "util"},
    "inventory": {"errors", "slurm", "util"},
    "slurm": {"errors", "node", "util"},
    "util": {"errors"},
    "node": set(),
    "reasons": {"node", "util"},
    "errors": set(),
    "version": set(),
}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def module_of(source: Path) -> str:
    parts = source.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


MODULES = {module_of(source): source for source in sources()}


@cache
def imports(source: Path) -> list[str]:
    """Return every module that a file imports, also in functions and for type checking."""
    found: list[str] = []
    package = module_of(source).split(".")
    if source.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                found.append(whole if whole in MODULES else module)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_rooms_below_its_own(module: str) -> None:
    room = room_of(module)
    for imported in imports(MODULES[module]):
        if imported.split(".")[0] == ROOT.name and room_of(imported) != room:
            assert room_of(imported) in MAY_IMPORT[room], f"{room} must not import {imported}"


def test_imports_are_not_circular() -> None:
    graph = {
        module: {each for each in imports(source) if each in MODULES} - {module}
        for module, source in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_room_is_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} == set(MAY_IMPORT)


def test_only_ui_imports_rich_and_only_cli_imports_typer() -> None:
    for source in sources():
        for module in imports(source):
            if module.split(".")[0] == "rich":
                assert room_of(module_of(source)) == "ui", source
            if module.split(".")[0] == "typer":
                assert room_of(module_of(source)) == "cli", source


def test_only_provision_imports_fabric() -> None:
    for source in sources():
        for module in imports(source):
            if module.split(".")[0] in {"fabric", "invoke", "paramiko"}:
                assert room_of(module_of(source)) == "provision", source


def test_only_transports_import_the_ssh_transport() -> None:
    """All other code takes a Transport.

    The embedded cluster uses SSH on the loopback interface, OpenSSH's client the same configuration, and
    Slurm's programs may run on a login host. How a script gets through a login shell is not of one
    transport only.
    """
    transports = ("ssh", "embedded", "openssh", "slurm")
    allowed = "orchestrator.remote.ssh.script"
    for source in sources():
        module = module_of(source)
        if not module.startswith(tuple(f"orchestrator.remote.{each}" for each in transports)):
            for imported in imports(source):
                is_ssh = imported.startswith("orchestrator.remote.ssh")
                assert not is_ssh or imported == allowed, source


def test_only_the_ssh_transport_imports_asyncssh() -> None:
    for source in sources():
        if "asyncssh" in {module.split(".")[0] for module in imports(source)}:
            owners = ("orchestrator.remote.ssh", "orchestrator.remote.embedded")
            assert module_of(source).startswith(owners), source


def test_node_imports_only_the_standard_library() -> None:
    for source in sources():
        if room_of(module_of(source)) == "node":
            for module in imports(source):
                assert module.split(".")[0] in {*sys.stdlib_module_names, ROOT.name}, source


def test_library_does_not_print_or_exit() -> None:
    for source in sources():
        if room_of(module_of(source)) in {"cli", "node"}:
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "sys.exit", "exit", "os._exit"}, (
                    source
                )
