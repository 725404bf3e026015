"""Run `orch` as a person does, from a home and a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .orch import Orch


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the caller's but PATH."""
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def orch(tmp_path: Path, environment: dict[str, str]) -> Orch:
    """Run one command to its end."""

    def run(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, words)],
            capture_output=True, text=True, timeout=60, env={**environment, **more}, cwd=tmp_path,
            check=False,
        )  # fmt: skip

    return run
