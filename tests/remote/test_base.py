"""The contract is light: knowing what a node is does not load an SSH library."""

from __future__ import annotations

import subprocess
import sys


def test_the_package_does_not_import_asyncssh() -> None:
    code = "import sys, orchestrator.remote; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
