"""Why a node's share of a run is stopped, as ids: the controller sends one with its request, the supervisor
keeps it in `status.json`, and the controller that reads it puts it into words.

Supervisors pass on ids that they do not know: they may be older than the controller, or newer.
"""

from __future__ import annotations

import enum


class StopReason(str, enum.Enum):
    """The value is what is written: it never changes, and no other reason ever gets it.

    More is in the detail: {"node", "text": text, "seconds": number, "signal", "pid": count, "because": an
    id}, each if the reason has it.
    """

    # A person has stopped the run:
    INTERRUPT = "interrupt"
    INTERRUPT_TWICE = "interrupt-twice"
    STOP_REQUEST = "stop-request"  # orch stop
    SIGTERM = "sigterm"  # to the controller, as SIGHUP
    SIGHUP = "sighup"
    # The controller has:
    TIME_LIMIT = "time-limit"  # seconds
    STALL = "stall"  # text: what the ranks wait for
    RANK_FAILED = "rank-failed"
    LAUNCHER_FAILED = "launcher-failed"
    NODE_FAILED = "node-failed"  # node
    NODE_STOPPED = "node-stopped"  # node, because (one of UNASKED) and its detail
    LAUNCHER_HANGS = "launcher-hangs"  # text: the nodes; seconds
    START_FAILED = "start-failed"
    NODE_LEFT = "node-left"  # the others continue without this node
    NODE_REPLACED = "node-replaced"  # it has no share of the next attempt
    RUN_ENDED = "run-ended"
    CONTROLLER_ENDING = "controller-ending"
    TRIAL_OVER = "trial-over"  # of the preflight
    # The supervisor has, without a request:
    SUPERVISOR_SIGNALLED = "supervisor-signalled"  # signal; pid: the sender
    LEASE_EXPIRED = "lease-expired"  # seconds
    OTHER = "other"  # text: what another version wrote


UNASKED = (StopReason.SUPERVISOR_SIGNALLED, StopReason.LEASE_EXPIRED)
"""For these a supervisor stops by itself; any other reason comes with a request."""
