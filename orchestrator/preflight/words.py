"""Findings as plain lines of text."""

from __future__ import annotations

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.model import Status
from orchestrator.preflight.report import Report


def lines(report: Report) -> list[str]:
    """Return what failed, and what mends it, in lines for a terminal or a log."""
    found = []
    for check, finding in report.having(Status.FAIL):
        found.append(f"{check.id}  {fold(finding.nodes)}: {finding.message}")
        if finding.remedy is not None:
            found.append(f"  → {finding.remedy.text}")
            found.extend(f"      {command}" for command in finding.remedy.commands)
    return found
