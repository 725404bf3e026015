"""Process start-up."""

from __future__ import annotations

import subprocess
import sys


def collects_garbage_after(calls: str) -> bool:
    script = (
        "import gc\nfrom orchestrator.util.process import pause_gc, resume_gc\n"
        f"gc.disable()\n{calls}\nprint(gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return done.stdout == b"True\n"


def test_resume_gc_without_pause_gc_does_nothing() -> None:
    assert collects_garbage_after("pause_gc(); resume_gc()")
    assert not collects_garbage_after("resume_gc()")
