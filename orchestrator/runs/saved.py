"""A run as its folder on this machine tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator import events
from orchestrator.plan import NodePlan, Plan
from orchestrator.runs import lock
from orchestrator.runs.attempts import Attempt
from orchestrator.runs.folder import LOGS, RUN, read_json
from orchestrator.runs.plain import parse
from orchestrator.runs.plans import rebuild, rebuild_node
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.settings import Settings


@dataclass(frozen=True)
class Saved:
    """One run: `state` is starting, running, ended, or failed (it could not be started).

    `began` and `ended` are seconds since the epoch. `missing` names the nodes whose logs are not
    complete on this machine, though the run has ended; `verdict` says why it failed. `plan` is that of
    the latest `attempt`; `failed` are the attempts that have failed and were followed by another, `former`
    the nodes that had a share then and have none any more.
    """

    folder: Path
    state: str
    began: float
    ended: float | None
    plan: Plan
    settings: Settings
    exit_code: int | None
    summary: str
    missing: tuple[str, ...]
    verdict: events.Explained | None = None
    attempt: int = 0
    failed: tuple[Attempt, ...] = ()
    former: tuple[NodePlan, ...] = ()
    recipe: Recipe | None = None

    @property
    def nodes(self) -> tuple[NodePlan, ...]:
        """All nodes that have, or had, a share of the run."""
        return self.plan.nodes + self.former

    @property
    def run(self) -> str:
        return self.plan.run

    @property
    def logs(self) -> Path:
        """Where the copies of its logs are: `<node>/attempt-K/rank-N.out` below this."""
        return self.folder / LOGS

    @property
    def has_ended(self) -> bool:
        return self.state in ("ended", "failed")

    @property
    def controller(self) -> lock.Controller | None:
        """Who minds the run now."""
        return lock.find_controller(self.folder)


def read_saved(folder: Path) -> Saved | None:
    """Return the run in `folder`, or None where it is not (or no longer, or not yet) a run's."""
    said = read_json(folder / RUN)
    try:
        return Saved(
            folder=folder,
            state=parse(str, said["state"]),
            began=parse(float, said["began"]),
            ended=parse(float | None, said["ended"]),
            plan=rebuild(parse(str, said["run"]), said["plan"]),
            settings=Settings.parse(said["settings"]),
            exit_code=parse(int | None, said["exit_code"]),
            summary=parse(str, said["summary"]),
            missing=parse(tuple[str, ...], said["missing"]),
            verdict=parse(events.Explained | None, said.get("verdict")),
            # Without these a record is of an earlier version: its run must stay within reach.
            attempt=parse(int, said.get("attempt", 0)),
            failed=parse(tuple[Attempt, ...], said.get("failed", [])),
            former=tuple(rebuild_node(node) for node in said.get("former", [])),
            recipe=None if said.get("recipe") is None else Recipe.parse(said["recipe"]),
        )
    except (KeyError, TypeError, ValueError):
        return None  # written by another version, or cut off while it was made
