"""docs/reference/files.md names every file that a run leaves, and no other."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from orchestrator.runs.folder import FILES
from tests.warm import Warm

PAGE = (Path(__file__).parent.parent / "docs/reference/files.md").read_text(encoding="utf-8")
STATE = "~/.local/state/orch/"
ELSEWHERE = {
    f"runs/RUN/{FILES}/", "runs/RUN/logs/NODE/attempt-N/launcher.out",
    "runs/RUN/logs/NODE/attempt-N/launcher.err", "~/orch/PROJECT/",
}  # fmt: skip
"""With spares, with another launcher, and on nodes with a home of their own."""


SCRIPT = """
import sys, time
print(1, file=sys.stderr)
print(1, flush=True)
time.sleep(600)
"""


def documented() -> dict[str, re.Pattern[str]]:
    """Return what the page names below the state folder, each with a pattern of such paths."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:3]:
        for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
            first, *others = re.findall(r"`([^`]+)`", cell)
            folder = first.rpartition("/")[0]
            for name in (first, *(_sibling(first, folder, each) for each in others)):
                found[name] = _pattern(name)
    return found


def _sibling(first: str, folder: str, name: str) -> str:
    return first.rpartition(".")[0] + name if name.startswith(".") else f"{folder}/{name}"


def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name.removeprefix(STATE))
    text = re.sub(r"RUN|NODE|HOST|PORT", r"[^/]+", text)
    text = re.sub(r"(?<=-)[NR]\b", "[0-9]+", text)
    return re.compile(text + (".*" if name.endswith("/") else ""))


@pytest.mark.cluster
def test_files_of_a_run_are_those_of_the_page(tmp_path: Path, warm: Warm) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/t.py").write_text(SCRIPT)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def orch(*words: str) -> str:
        done = warm.run([*words], environment, tmp_path / "exp", timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = orch("launch", "-d", "--local", "1", "--launcher", "direct", "t.py").strip()
    state = tmp_path / ".local/state/orch"
    deadline = time.monotonic() + 60
    while not list(state.glob("runs/*/logs/*/attempt-0/rank-0.out")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    orch("stop", run)
    paths = {str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()}
    names = documented()
    patterns = names.values()
    assert {path for path in paths if not any(each.fullmatch(path) for each in patterns)} == set()
    unused = {name for name, each in names.items() if not any(map(each.fullmatch, paths))}
    assert unused <= ELSEWHERE


def test_page_names_the_folder_of_the_launched_files() -> None:
    assert f"runs/RUN/{FILES}/" in documented()
