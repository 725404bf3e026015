"""The verdict of a check on one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.preflight.model import Status


@dataclass(frozen=True)
class Verdict:
    """What one node's measurement comes to; `text` and `commands` are the remedy, if there is one.

    `data` is what was measured on this node; `as_root` says who pastes the commands, as in a Remedy.
    """

    status: Status
    message: str
    text: str | None = None
    commands: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    as_root: bool = True


skip, passed = partial(Verdict, Status.SKIP), partial(Verdict, Status.PASS)
warn, fail = partial(Verdict, Status.WARN), partial(Verdict, Status.FAIL)


def incomplete(reason: str) -> Verdict:
    """Return the verdict on what could not be measured."""
    return Verdict(Status.INCOMPLETE, f"could not be checked: {reason}")
