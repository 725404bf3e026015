"""docs/reference/json.md: every key that a command prints is described there, and the other way round."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.warm import Warm

pytestmark = pytest.mark.cluster

PAGE = (Path(__file__).parent.parent / "docs/reference/json.md").read_text(encoding="utf-8")
SCRIPT = """
import os, time
print("up", flush=True)
if os.environ["RANK"] == "1":
    raise ValueError("bad sample")
time.sleep(100)
"""
COMMANDS = {
    "orch launch": ["logs", "--output", "json"],
    "orch runs": ["runs", "--output", "json"],
    "orch status": ["status", "--output", "json"],
    "orch diagnose": ["diagnose", "--output", "json"],
    "orch nodes": ["nodes", "--local", "1", "--output", "json"],
    "orch config": ["config", "--output", "json"],
    "orch preflight": ["preflight", "--local", "1", "--only", "host", "--output", "json"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """The home of someone whose latest run has failed."""
    home = tmp_path_factory.mktemp("home")
    project = home / "exp"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    done = _orch(warm, home, "launch", "--local", "2", "--launcher", "direct", "train.py")
    assert "bad sample" in done
    return home


def _orch(warm: Warm, home: Path, *words: str) -> str:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return warm.run([*words], environment, home / "exp", timeout=100).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_keys_of_a_command_are_those_of_the_page(command: str, home: Path, warm: Warm) -> None:
    text = _orch(warm, home, *COMMANDS[command])
    printed = json.loads(text.splitlines()[0]) if command == "orch launch" else json.loads(text)
    documented, objects = _documented(command)
    found = set(_paths(printed))
    undocumented = {
        path for path in found if path not in documented and not path.startswith(tuple(objects))
    }
    assert undocumented == set()
    empty = {path for path, value in _values(printed) if value in (None, [], {}, "")}
    missing = {
        path
        for path in documented - found
        if not any(path.startswith((f"{above}.", f"{above}[")) for above in empty)
    }
    assert missing == set()


def test_keys_of_stacks_are_those_of_the_page(home: Path, warm: Warm) -> None:
    (home / "exp/sleep.py").write_text("import time; time.sleep(600)")
    _orch(warm, home, "launch", "-d", "--local", "1", "--launcher", "direct", "sleep.py")
    printed = json.loads(_orch(warm, home, "stacks", "sleep", "--output", "json"))
    _orch(warm, home, "stop", "sleep")
    documented, _ = _documented("orch stacks")
    assert set(printed) == documented


def _documented(command: str) -> tuple[set[str], set[str]]:
    """Return the paths of keys that the page has for a command, and the starts of those below an object."""
    section = next(part for part in PAGE.split("\n## ") if f"`{command}`" in part.splitlines()[0])
    paths, objects = set(), set()
    prefix = ""
    for line in section.splitlines():
        if re.fullmatch(r"`\w+`:", line):
            prefix = line.strip("`:") + "."
        row = re.fullmatch(r"\| (`.+?) \|\s*(.*?)\s*\| .+ \|", line)
        if row is None:
            continue
        for name in re.findall(r"`([^`]+)`", row[1]):
            path = prefix + name.removesuffix("[]")
            parts = path.split(".")
            paths |= {".".join(parts[:n]).removesuffix("[]") for n in range(1, len(parts) + 1)}
            if row[2].startswith("object"):
                objects |= {f"{path}.", f"{path}[]."}
    return paths, objects


def _values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every path of keys in a JSON value with its value; an outermost list counts as its elements."""
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else key
            yield place, inner
            yield from _values(inner, place)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, f"{path}[]" if path else "")


def _paths(value: Any) -> Iterator[str]:
    return (path for path, _ in _values(value))
