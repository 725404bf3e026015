"""A phase of a use case: it begins, its nodes are done one by one, it ends after so many seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable

from orchestrator import events
from orchestrator.util.log import logger

log = logger("pipeline")


class Phase:
    """Times a phase and says how it goes."""

    def __init__(self, name: str, nodes: Iterable[str], emit: events.Emit) -> None:
        self._name, self._emit = name, emit
        self.detail = ""
        """What is worth a few words when it has ended."""
        among = tuple(nodes)
        log.debug("%s: %d nodes", name, len(among))
        emit(events.PhaseBegan(name, among))
        self._began = time.monotonic()

    def __enter__(self) -> Phase:
        return self

    def advance(self, node: str, succeeded: bool) -> None:
        """Note that `node` is done."""
        self._emit(events.PhaseAdvanced(self._name, node, succeeded))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = time.monotonic() - self._began
        if kind is None:
            log.info("%s: done in %.2f s %s", self._name, seconds, self.detail)
            self._emit(events.PhaseEnded(self._name, seconds, self.detail))
        else:
            log.info("%s: given up after %.2f s (%s)", self._name, seconds, kind.__name__)
