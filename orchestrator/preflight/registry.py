"""Every check there is, in the order of the report, and the choice among them."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from orchestrator.errors import UsageError
from orchestrator.preflight.collectives import checks as collectives
from orchestrator.preflight.gpus import gpu
from orchestrator.preflight.hosts import machines, names
from orchestrator.preflight.interfaces import bandwidth, links, mtu
from orchestrator.preflight.limits import limits
from orchestrator.preflight.model import Check, Group, Level
from orchestrator.preflight.rdma import infiniband
from orchestrator.preflight.reach import ports, tcp
from orchestrator.preflight.script import contradictions
from orchestrator.preflight.software import agreement

_GROUPS = list(Group)

_FILES = (
    machines, names, agreement, contradictions, tcp, ports, links, mtu, bandwidth, infiniband, gpu,
    collectives, limits,
)  # fmt: skip

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (check for file in _FILES for check in file.CHECKS),
        key=lambda check: _GROUPS.index(check.group),
    )
)


def select(level: Level, only: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks of `level`, or those named by `only`, of whatever level.

    A name is an id or the part of ids before their dot. Raises UsageError for a name that is neither.
    """
    if not only:
        return tuple(check for check in CHECKS if level is Level.FULL or check.level is level)
    for name in only:
        if not any(_is_named(check, name) for check in CHECKS):
            known = [check.id for check in CHECKS]
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(
                f"--only {name}: there is no such check",
                remedy=f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}",
            )
    return tuple(check for check in CHECKS if any(_is_named(check, name) for name in only))


def _is_named(check: Check, name: str) -> bool:
    return check.id == name or check.id.startswith(f"{name}.")
