"""Importing orchestrator.remote starts no program except ldconfig."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, subprocess, sys
started = []
real = subprocess.Popen.__init__
def note(self, args, *more, **options):
    started.append(args[0] if isinstance(args, (list, tuple)) else args)
    real(self, args, *more, **options)
subprocess.Popen.__init__ = note
import orchestrator.remote.ssh.connect
assert {os.path.basename(name) for name in started} <= {"ldconfig"}, started
import ctypes.util
assert ctypes.util._findLib_gcc.__name__ == "_findLib_gcc"
"""


def test_import_runs_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
