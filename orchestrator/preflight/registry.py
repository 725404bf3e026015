"""All checks, in the order of the report, and the selection of some.

Other packages add a `Check` by the entry point group `orch.checks`, under its id.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache

from orchestrator.errors import UsageError
from orchestrator.preflight.collectives import checks as collectives
from orchestrator.preflight.gpus import gpu
from orchestrator.preflight.hosts import machines, names
from orchestrator.preflight.interfaces import bandwidth, interfaces, mtu
from orchestrator.preflight.limits import limits
from orchestrator.preflight.model import Check, Group, Level
from orchestrator.preflight.rdma import infiniband
from orchestrator.preflight.reach import neighbours, ports, tcp
from orchestrator.preflight.script import contradictions
from orchestrator.preflight.software import agreement
from orchestrator.util.plugins import Plugins, load_plugins

_FILES = (
    machines, names, agreement, contradictions, tcp, neighbours, ports, interfaces, mtu, bandwidth,
    infiniband, gpu, collectives, limits,
)  # fmt: skip

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (check for file in _FILES for check in file.CHECKS),
        key=lambda check: list(Group).index(check.group),
    )
)


GROUP = "orch.checks"


def all_checks() -> tuple[Check, ...]:
    """Return orch's own checks, then those of other packages that work."""
    return (*CHECKS, *_plugins().found.values())


def left_out() -> tuple[str, ...]:
    """Return a line for each check of another package that is left out, with the reason."""
    return tuple(f"check {broken}" for broken in _plugins().broken)


@cache
def _plugins() -> Plugins[Check]:
    return load_plugins(GROUP, Check, taken={check.id for check in CHECKS})


def select(level: Level, only: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks of `level`, or those named by `only`, of any level.

    A name is an id or the part of ids before their dot. Raises UsageError for another name.
    """
    checks = all_checks()
    if not only:
        return tuple(check for check in checks if level is Level.FULL or check.level is level)
    for name in only:
        if not any(_is_named(check, name) for check in checks):
            known = [check.id for check in checks]
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(
                f"--only {name}: there is no such check",
                remedy=f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}",
            )
    return tuple(check for check in checks if any(_is_named(check, name) for name in only))


def _is_named(check: Check, name: str) -> bool:
    return check.id == name or check.id.startswith(f"{name}.")
