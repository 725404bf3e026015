"""Run `orch` as a user does, from a home and a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.warm import Warm

from .orch import Complete, Orch

NODE = ".local/state/orch/node"
"""Where a node's code is, below its home."""


@pytest.fixture(scope="session")
def used_home(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """A home in which a node has been installed: most tests need not do that again."""
    home = tmp_path_factory.mktemp("used-home")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = warm.run(["launch", "--local", "1", "--dry-run", "--no-sync", "x.py"], environment, home)
    assert done.returncode == 0, done.stderr
    return home


def new_environment(folder: Path, home: Path, used_home: Path) -> dict[str, str]:
    """Return nothing of the caller's but PATH; runs are kept below `folder`."""
    shutil.copytree(used_home / NODE, home / NODE)
    return {
        "HOME": str(home),
        "XDG_STATE_HOME": str(folder / ".local/state"),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def environment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, used_home: Path
) -> dict[str, str]:
    """The environment of a command. The home is elsewhere: its files are not synced."""
    return new_environment(tmp_path, tmp_path_factory.mktemp("home"), used_home)


@pytest.fixture
def orch(tmp_path: Path, environment: dict[str, str], warm: Warm) -> Orch:
    """Run one command to its end, with more variables in its environment."""

    def run(
        *words: str | Path, streams: Mapping[int, int] = {}, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return warm.run(
            [*map(str, words)], {**environment, **more}, tmp_path, timeout=120, streams=streams
        )

    return run


@pytest.fixture
def new_python(tmp_path: Path, environment: dict[str, str]) -> Orch:
    """Run one command to its end in a Python of its own, from its start to its end."""

    def run(
        *words: str | Path, streams: Mapping[int, int] = {}, **more: str
    ) -> subprocess.CompletedProcess[str]:
        stdin, stdout, stderr = (
            streams.get(number, default)
            for number, default in enumerate((subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE))
        )
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, words)],
            stdin=stdin, stdout=stdout, stderr=stderr, text=True, timeout=60,
            env={**environment, **more}, cwd=tmp_path, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def complete(orch: Orch) -> Complete:
    """Return what a shell completes the last word of a command line to."""

    def completed(line: str) -> list[str]:
        words = f"orch {line}"
        last = str(len(words.split()) - 1)
        asked = {"_ORCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": last}
        done = orch(**asked)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return completed
