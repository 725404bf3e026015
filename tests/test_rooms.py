"""The rooms of the package import downward only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(orchestrator.__file__).parent

# room -> the rooms (or modules) of ours that it may import
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "quoting": set(),
    "process": set(),
    "signal_names": set(),
    "inventory": {"errors"},
    "logs": set(),
    "node": set(),
    "plan": {"errors", "quoting", "inventory"},
    "remote": {"errors", "quoting", "inventory", "node", "signal_names"},
    "sync": {"errors", "quoting", "remote", "inventory", "signal_names"},
    "events": {"errors", "logs", "plan"},
    "runs": {
        "errors",
        "events",
        "inventory",
        "remote",
        "plan",
        "logs",
        "diagnose",
        "hangs",
        "signal_names",
        "",
    },
    "diagnose": set(),
    "examine": {"diagnose", "errors", "events", "logs", "runs"},
    "hangs": {"errors", "logs", "plan", "remote"},
    "preflight": {"errors", "quoting", "inventory", "plan", "remote"},
    "spread": {"errors", "events", "phase", "remote", "plan", "sync"},
    "phase": {"errors", "events"},
    "reach": {"errors", "events", "phase", "plan", "remote"},
    "meet": {"errors", "events", "plan", "remote"},
    "clear": {"errors", "events", "phase", "preflight", "remote"},
    "check": {
        "clear",
        "errors",
        "events",
        "inventory",
        "meet",
        "plan",
        "preflight",
        "reach",
        "remote",
        "runs",
    },
    "ready": {"clear", "events", "meet", "plan", "preflight", "remote", "runs", "spread"},
    "again": {
        "errors",
        "events",
        "inventory",
        "phase",
        "plan",
        "preflight",
        "reach",
        "ready",
        "remote",
        "runs",
    },
    "launch": {
        "again",
        "clear",
        "errors",
        "events",
        "inventory",
        "phase",
        "plan",
        "preflight",
        "reach",
        "ready",
        "remote",
        "runs",
    },
    "keep": {"again", "errors", "events", "inventory", "remote", "runs"},
    "attach": {"events", "logs", "runs"},
    "stop": {"errors", "events", "runs"},
    "stacks": {"errors", "hangs", "keep", "remote", "runs"},
    "status": {"events", "logs", "plan", "runs"},
    "prune": {"errors", "events", "keep", "remote", "runs"},
    "catch_up": {"errors", "events", "logs", "runs"},
    "nodes": {"errors", "events", "inventory", "plan", "reach", "remote"},
    "execute": {"errors", "events", "inventory", "quoting", "reach", "remote", "runs"},
    "ui": {
        "diagnose",
        "errors",
        "events",
        "examine",
        "hangs",
        "inventory",
        "logs",
        "nodes",
        "plan",
        "preflight",
        "process",
        "signal_names",
    },
}
UNBOUND = {"cli", "__init__", "__main__"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(source: Path) -> str:
    return source.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(source: Path) -> Iterator[str]:
    """Every module that a file imports, also within functions."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = [ROOT.name, *source.relative_to(ROOT).parts[: -node.level]]
                yield ".".join([*base, node.module or ""]).rstrip(".")
            else:
                assert node.module is not None
                yield node.module
                if node.module == ROOT.name:
                    yield from (f"{ROOT.name}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("source", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_below_it(source: Path) -> None:
    room = room_of(source)
    if room in UNBOUND:
        return
    for module in imports(source):
        parts = module.split(".")
        if parts[0] == ROOT.name and len(parts) > 1 and parts[1] not in (room, "__version__"):
            assert parts[1] in MAY_IMPORT[room], f"{room} must not import {module}"


def test_only_ui_imports_rich_and_only_cli_imports_typer() -> None:
    for source in sources():
        for module in imports(source):
            if module.split(".")[0] == "rich":
                assert room_of(source) == "ui", source
            if module.split(".")[0] == "typer":
                assert room_of(source) == "cli", source


def test_the_node_side_needs_the_standard_library_only() -> None:
    for source in sources():
        if room_of(source) == "node":
            for module in imports(source):
                assert module.split(".")[0] in {*sys.stdlib_module_names, ROOT.name}, source


def test_the_library_neither_prints_nor_exits() -> None:
    for source in sources():
        if room_of(source) in {"cli", "node"}:
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "sys.exit", "exit", "os._exit"}, (
                    source
                )
