"""Run `orch` as a user does, from a home and a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.homes import copy_node
from tests.warm import Warm

from .orch import Complete, Orch


def new_environment(folder: Path, home: Path, used_home: Path) -> dict[str, str]:
    """Return nothing of the caller's but PATH; runs are kept below `folder`."""
    copy_node(used_home, home)
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
        *words: str | Path,
        streams: Mapping[int, int] = {},
        prelude: Path | None = None,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        return warm.run(
            [*map(str, words)],
            {**environment, **more},
            tmp_path,
            timeout=120,
            streams=streams,
            prelude=prelude,
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
