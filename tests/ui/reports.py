"""Preflight reports for tests, with given findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.preflight.model import Check, Finding, Group, Level, Remedy, Status
from orchestrator.preflight.report import Report, Result

from ..preflight.contexts import make_context, plan_names


def report(*results: Result, nodes: int = 3, **more: Any) -> Report:
    return Report(make_context(nodes, **more), results)


def result(identity: str, *findings: Finding, group: Group = Group.HOST) -> Result:
    check = Check(identity, group, Level.FULL, "a meaning", "a page", lambda context: findings)
    return Result(check, findings)


def passed(message: str = "as it should be", nodes: int = 3) -> Finding:
    return Finding(Status.PASS, tuple(plan_names(nodes)), message)


def failed(
    message: str,
    *nodes: str,
    status: Status = Status.FAIL,
    text: str | None = None,
    commands: Sequence[str] = (),
    on: Sequence[str] | None = None,
) -> Finding:
    """Return a finding that does not pass; its remedy is for its own nodes unless `on` is given."""
    remedy = text and Remedy(text, tuple(commands), nodes if on is None else tuple(on))
    return Finding(status, nodes, message, remedy or None)
