"""The log of a run has its events, but not its output."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.control.journal import log_event
from orchestrator.logs.stream import Stream
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign, assignment]
    log = logging.getLogger("orch.run")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield kept
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.parametrize(
    ("event", "node", "message"),
    [
        (events.RankEnded(3, "node1", 1, None, 0.0), "node1", "rank 3 exited with 1"),
        (events.RankEnded(3, "node1", None, 9, 0.0), "node1", "rank 3 was ended by signal 9"),
        (
            events.Stopping(Stop(StopReason.RANK_FAILED), 3.0),
            None,
            f"stopping all ranks ({StopReason.RANK_FAILED.value}), grace 3 s",
        ),
        (events.NodeLost("node1", "timed out"), "node1", "no connection: timed out"),
        (events.Restarting(2, 3, "rank 1 failed"), None, "attempt 2 of 3, because rank 1 failed"),
    ],
)
def test_event_is_logged_with_its_node(
    records: list[logging.LogRecord], event: events.Event, node: str | None, message: str
) -> None:
    log_event(event)
    (record,) = records
    assert (record.getMessage(), vars(record).get("node")) == (message, node)


def test_output_is_not_logged(records: list[logging.LogRecord]) -> None:
    log_event(events.Output(Stream("n0", 0, 0, 0, "stdout"), 0, b"secret\n", 0.0, Path("copy")))
    assert records == []
