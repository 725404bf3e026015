"""Report a wait once it takes a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator import events

_MESSAGE_DELAY = 1.0  # seconds


@contextmanager
def slow_phase(phase: str, nodes: Iterable[str], emit: events.Emit) -> Iterator[None]:
    """Emit the start of a phase if the context takes over a second; needs a running event loop."""
    began = events.PhaseBegan(phase, tuple(nodes))
    timer = asyncio.get_running_loop().call_later(_MESSAGE_DELAY, emit, began)
    try:
        yield
    finally:
        timer.cancel()
