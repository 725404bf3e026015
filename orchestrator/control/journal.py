"""The log of a run, from its events: `orch.run`."""

from __future__ import annotations

import logging

from orchestrator import events
from orchestrator.util.log import logger, node_logger

_log = logger("run")


def log_event(event: events.Event) -> None:
    """Log what happened in a run; never its output, of which there may be any amount."""
    if isinstance(event, events.Output) or not _log.isEnabledFor(logging.INFO):
        return
    node = getattr(event, "node", "")
    log = node_logger("run", node) if node else _log
    match event:
        case events.Started():
            log.info("run %s: following it, record in %s", event.run, event.folder)
        case events.Following():
            log.info("connected, following its share")
        case events.RankBegan():
            log.debug("rank %d (attempt %d) is process %d", event.rank, event.attempt, event.pid)
        case events.RankEnded(signal=None):
            log.info("rank %d exited with %s", event.rank, event.code)
        case events.RankEnded():
            log.info("rank %d was ended by signal %d", event.rank, event.signal)
        case events.Stopping():
            log.info("stopping all ranks (%s), grace %g s", event.stop.reason.value, event.grace)
        case events.Restarting():
            log.info("attempt %d of %d, because %s", event.attempt, event.of, event.because)
        case events.Stalled():
            log.info("no progress for %g s", event.seconds)
        case events.Resumed():
            log.info("progress again after %g s", event.seconds)
        case events.NodeLost():
            log.info("no connection: %s", event.cause)
        case events.NodeBack():
            log.info("connected again after %.1f s", event.seconds)
        case events.NodeGone():
            log.info("counts as failed: %s", event.why)
        case events.NodeLeft():
            log.info("left the run: %s; %d of %d nodes stay", event.why, event.staying, event.of)
        case events.NodeEnded():
            log.info("share of the run ended: %s", event.state)
        case events.Warned():
            log.warning("%s", event.message)
        case events.Explained():
            log.info("first failure: %s on %s: %s", event.how, event.node, event.cause)
        case events.Ended():
            log.info("run %s ended after %.1f s: %s", event.run, event.seconds, event.summary)
