"""The verdict of a check on one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.preflight.model import Finding, Remedy, Status


@dataclass(frozen=True)
class Verdict:
    """How a check judges one node; `text` and `commands` are the remedy, if there is one.

    `data` is what was measured on the node; `as_root` is who runs the commands, as in a Remedy.
    """

    status: Status
    message: str
    text: str | None = None
    commands: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    as_root: bool = True

    def on(self, nodes: Sequence[str]) -> Finding:
        """Return this verdict as a finding for `nodes`, which the remedy is for too."""
        nodes = tuple(nodes)
        text, commands = self.text, self.commands
        remedy = None if text is None else Remedy(text, commands, nodes, self.as_root)
        return Finding(self.status, nodes, self.message, remedy, self.data)


skip, passed = partial(Verdict, Status.SKIP), partial(Verdict, Status.PASS)
warn, fail = partial(Verdict, Status.WARN), partial(Verdict, Status.FAIL)


def incomplete(reason: str) -> Verdict:
    """Return the verdict on what could not be measured."""
    return Verdict(Status.INCOMPLETE, f"could not be checked: {reason}")
