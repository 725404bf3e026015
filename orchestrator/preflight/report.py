"""The results of all checks of a preflight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.preflight.judge import worst
from orchestrator.preflight.model import Check, Context, Finding, Status
from orchestrator.util.frontend import Shown


@dataclass(frozen=True)
class Result:
    """One check and its findings."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of its findings."""
        return worst(self.findings)


@dataclass(frozen=True)
class Report(Shown):
    """The results of all checks that were made, in the order of the report."""

    context: Context
    results: tuple[Result, ...]

    @property
    def status(self) -> Status:
        """The worst of all findings; skip for none."""
        return worst([finding for result in self.results for finding in result.findings])

    def having(self, *statuses: Status) -> Iterator[tuple[Check, Finding]]:
        """Yield every finding with one of these statuses, and its check."""
        for result in self.results:
            for finding in result.findings:
                if finding.status in statuses:
                    yield result.check, finding
