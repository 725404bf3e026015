"""How a run has ended, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator import events
from orchestrator.api.status import RankStatus, status_of
from orchestrator.errors import OrchError
from orchestrator.runs.outcome import Outcome
from orchestrator.runs.registry import unless_pruned
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.frontend import Shown


class RunFailed(OrchError):
    """A run has not succeeded; `result` is how it ended, `exit_code` the run's own.

    `cause` is why, if known, and `remedy` what to do.
    """

    def __init__(self, result: Result) -> None:
        why = result.verdict
        self.result = result
        self.cause = "" if why is None else "; ".join(filter(None, (why.meaning, why.cause)))
        because = f"\n  cause: {self.cause}" if self.cause else ""
        super().__init__(
            f"run {result.run}: {result.summary}{because}",
            remedy=(why.fix if why is not None else "") or f"orch diagnose {result.run}",
        )
        self.exit_code = result.exit_code


@dataclass(frozen=True)
class Result(Shown):
    """How a run ended: `outcome` in one word (succeeded, failed, stopped, lost), `summary` in one line.

    `seconds` is its duration, `verdict` why it failed (None if it did not, or that is unknown). `ranks`
    has the last state of each rank, by rank. `exit_code` is the exit code of `orch launch`.
    """

    run: str
    exit_code: int
    outcome: Outcome
    summary: str
    seconds: float
    verdict: events.Explained | None = None
    ranks: Mapping[int, RankStatus] = field(default_factory=dict, repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether all ranks have succeeded."""
        return self.exit_code == 0

    def raise_for_status(self) -> Result:
        """Return this result if the run has succeeded, else raise RunFailed."""
        if not self.succeeded:
            raise RunFailed(self)
        return self


def result_of(saved: SavedRun) -> Result:
    """Return how a run that has ended did so."""
    with unless_pruned(saved):
        ranks = [rank for node in status_of(saved).nodes for rank in node.ranks]
    return Result(
        run=saved.run,
        exit_code=1 if saved.exit_code is None else saved.exit_code,
        outcome=saved.outcome or "failed",
        summary=saved.summary,
        seconds=(saved.ended or saved.began) - saved.began,
        verdict=saved.verdict,
        ranks={rank.rank: rank for rank in ranks},
    )
