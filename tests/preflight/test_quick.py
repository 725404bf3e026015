"""The quick checks, and what a launch imports for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.preflight import quick
from orchestrator.preflight.level import Level
from orchestrator.preflight.registry import select

ROOM = "orchestrator.preflight"


def imported(tmp_path: Path, program: str, *words: str) -> set[str]:
    """Return the modules of the room that a program has imported when it ends."""
    script = (
        "import sys\n"
        f"sys.argv = {['orch', *words]!r}\n"
        "try:\n"
        f"    {program}\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"print(*(name for name in sys.modules if name.startswith({ROOM!r})), file=sys.stderr)\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=100, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_quick_checks_are_those_of_the_registry_in_its_order() -> None:
    assert select(Level.QUICK) == quick.CHECKS


def test_quick_preflight_imports_no_full_check(tmp_path: Path) -> None:
    found = imported(tmp_path, "import orchestrator.pipeline.checks")
    assert f"{ROOM}.quick" in found
    for room in ("registry", "collectives", "gpus", "rdma"):
        assert f"{ROOM}.{room}" not in found


@pytest.mark.parametrize("words", [["--help"], ["--dry-run"], ["--preflight", "off"]], ids=" ".join)
def test_launch_without_preflight_imports_no_check(tmp_path: Path, words: list[str]) -> None:
    script = tmp_path / "job/train.py"  # what lies in the home itself is not sent
    script.parent.mkdir()
    script.touch()
    program = "from orchestrator.cli import main; main()"
    launch = ["launch", "--local", "1", "--launcher", "direct", *words, str(script)]
    assert imported(tmp_path, program, *launch) <= {ROOM, f"{ROOM}.level"}
