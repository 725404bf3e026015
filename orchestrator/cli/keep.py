"""`orch keep`: mind a run in the background. For orch itself: `orch attach` and the like start it."""

from __future__ import annotations

from typing import Annotated

import typer


def keep(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's whole name.")],
) -> None:
    """Mind RUN until it has ended, without a console."""
    import asyncio
    import sys

    from orchestrator.keep import keep
    from orchestrator.runs.keeper import take_over
    from orchestrator.runs.registry import find

    asyncio.run(keep(find(run), take_over(sys.stdin.buffer)))
