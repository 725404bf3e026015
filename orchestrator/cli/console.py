"""Run a use case whose events a console shows, and exit."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from orchestrator.errors import LaunchError
from orchestrator.ui.console import Console

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], console: Console) -> T:
    """Return what `work` returns, once the console has written all that it has."""
    try:
        return asyncio.run(work)
    finally:
        console.close()


def run_and_exit(work: Coroutine[Any, Any, int | None], console: Console) -> NoReturn:
    """Exit with the code that `work` returns (None: 0), once the console has written all that it has."""
    code = LaunchError.exit_code
    try:
        code = asyncio.run(work) or 0
    finally:
        # Nothing runs any more, so a signal may end the wait for a slow reader of stdout.
        try:
            console.close()
        except KeyboardInterrupt:
            sys.exit(code or 128 + signal.SIGINT)
    sys.exit(code)
