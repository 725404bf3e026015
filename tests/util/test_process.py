"""How a process begins."""

from __future__ import annotations

import subprocess
import sys


def garbage_is_collected_after(calls: str) -> bool:
    script = (
        "import gc\nfrom orchestrator.util.process import begin_imports, end_imports\n"
        f"gc.disable()\n{calls}\nprint(gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return done.stdout == b"True\n"


def test_end_of_imports_without_their_beginning_leaves_garbage_collection_alone() -> None:
    assert garbage_is_collected_after("begin_imports(); end_imports()")
    assert not garbage_is_collected_after("end_imports()")
