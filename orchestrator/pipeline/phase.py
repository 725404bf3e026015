"""A phase of a use case, with progress by node."""

from __future__ import annotations

import time
from collections.abc import Iterable

from orchestrator import events
from orchestrator.util.log import logger

log = logger("pipeline")


class Phase:
    """Measures a phase and reports its progress."""

    def __init__(self, name: str, nodes: Iterable[str], emit: events.Emit) -> None:
        self._name, self._emit = name, emit
        self.detail = ""
        """A short note to show at the end."""
        names = tuple(nodes)
        log.debug("%s: %d nodes", name, len(names))
        emit(events.PhaseBegan(name, names))
        self._began = time.monotonic()

    def __enter__(self) -> Phase:
        return self

    def advance(self, node: str, succeeded: bool) -> None:
        """Report that `node` has finished."""
        self._emit(events.PhaseAdvanced(self._name, node, succeeded))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = time.monotonic() - self._began
        if kind is None:
            log.info("%s: done in %.2f s %s", self._name, seconds, self.detail)
            self._emit(events.PhaseEnded(self._name, seconds, self.detail))
        else:
            log.info("%s: given up after %.2f s (%s)", self._name, seconds, kind.__name__)
