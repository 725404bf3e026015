"""Run `orch` as a person does, from a home and a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import Warm

from .orch import Orch


@pytest.fixture
def environment(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Nothing of the caller's but PATH. The home is elsewhere: what lies in it is not sent."""
    return {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "XDG_STATE_HOME": str(tmp_path / ".local/state"),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def orch(tmp_path: Path, environment: dict[str, str], warm: Warm) -> Orch:
    """Run one command to its end; with more environment, as a Python of its own."""

    def run(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        if not more:
            return warm.run([*map(str, words)], environment, tmp_path)
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, words)],
            capture_output=True, text=True, timeout=60, env={**environment, **more}, cwd=tmp_path,
            check=False,
        )  # fmt: skip

    return run
