"""The command line: thin. Parse, call one use case, turn an error into text and an exit code."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the `orch` command."""
    from orchestrator.util.process import open_standard_streams, pause_gc, raise_file_limit

    open_standard_streams()
    raise_file_limit()
    pause_gc()
    try:
        from orchestrator.cli.app import run
        from orchestrator.ui.stdout import guard_stdout

        guard_stdout()
        run()
    except KeyboardInterrupt:  # while modules were imported
        sys.exit(128 + signal.SIGINT)
