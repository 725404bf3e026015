"""The command line: thin. Parse, call one use case, turn an error into text and an exit code."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the `orch` command."""
    from orchestrator.util.process import begin_imports, open_all, raise_limits

    open_all()
    raise_limits()
    begin_imports()
    try:
        from orchestrator.cli.app import run
        from orchestrator.ui.stdout import guard_stdout

        guard_stdout()
        run()
    except KeyboardInterrupt:  # while modules were imported
        sys.exit(128 + signal.SIGINT)
