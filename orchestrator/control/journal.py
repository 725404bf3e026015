"""Deliver the events of a run: to the logger `orch.run`, its event log, and its viewers."""

from __future__ import annotations

import logging
from logging import DEBUG, INFO, WARNING

from orchestrator import events
from orchestrator.runs.record import Record
from orchestrator.util.log import logger, node_logger

_log = logger("run")

# Output is not logged: there may be any amount of it.
_MESSAGES: dict[type[events.Event], tuple[int, str]] = {
    events.Started: (INFO, "run {run}: following it, record in {folder}"),
    events.Following: (INFO, "connected, following its share"),
    events.RankBegan: (DEBUG, "rank {rank} (attempt {attempt}) is process {pid}"),
    events.Stopping: (INFO, "stopping all ranks ({stop.reason.value}), grace {grace:g} s"),
    events.Restarting: (INFO, "attempt {attempt} of {of}, because {because}"),
    events.Stalled: (INFO, "no progress for {seconds:g} s"),
    events.Resumed: (INFO, "progress again after {seconds:g} s"),
    events.Straggling: (INFO, "ranks {ranks} hold up the others for {share:.0%} of the time"),
    events.CaughtUp: (INFO, "ranks {ranks} no longer hold up the others"),
    events.NodeLost: (INFO, "no connection: {cause}"),
    events.NodeBack: (INFO, "connected again after {seconds:.1f} s"),
    events.NodeGone: (INFO, "counts as failed: {why}"),
    events.NodeLeft: (INFO, "left the run: {why}; {staying} of {of} nodes stay"),
    events.NodeEnded: (INFO, "share of the run ended: {state}"),
    events.Warned: (WARNING, "{message}"),
    events.Explained: (INFO, "first failure: {how} on {node}: {cause}"),
    events.Ended: (INFO, "run {run} ended after {seconds:.1f} s: {summary}"),
}


class Journal:
    """Logs each event, records it in the event log of the run, and passes it on to `emit`."""

    def __init__(self, record: Record, emit: events.Emit) -> None:
        self._record = record
        self._emit = emit
        self._can_write = True

    def __call__(self, event: events.Event) -> None:
        log_event(event)
        try:
            self._record.note(event)
            self._can_write = True
        except OSError as error:  # a full disk here must not stop the controller
            if self._can_write:
                self._can_write = False
                self._emit(events.Warned(f"the record of the run cannot be written: {error}"))
        self._emit(event)


def log_event(event: events.Event) -> None:
    """Log an event of a run, but not its output."""
    if isinstance(event, events.RankEnded):
        level = INFO
        message = "rank {rank} was ended by signal {signal}"
        if event.signal is None:
            message = "rank {rank} exited with {code}"
    else:
        level, message = _MESSAGES.get(type(event), (logging.NOTSET, ""))
    if message and _log.isEnabledFor(level):
        node = getattr(event, "node", "")
        log = node_logger("run", node) if node else _log
        log.log(level, "%s", message.format(**vars(event)))
