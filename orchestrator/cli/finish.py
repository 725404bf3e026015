"""Carry out a command that shows a run as it goes on, and exit as the run did."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import NoReturn

from orchestrator.errors import LaunchError
from orchestrator.ui.console import Console


def run_and_exit(work: Coroutine[None, None, int], console: Console) -> NoReturn:
    """Exit with the code that `work` returns, after all that the console has to show."""
    code = LaunchError.exit_code
    try:
        code = asyncio.run(work)
    finally:
        # Now that nothing runs any more, a signal ends the wait for a slow reader of stdout.
        try:
            console.close()
        except KeyboardInterrupt:
            sys.exit(code or 128 + signal.SIGINT)
    sys.exit(code)
