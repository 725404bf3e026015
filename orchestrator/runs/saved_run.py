"""A run as its folder on this machine tells it: `run.json`, which a `Record` writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.node import trust
from orchestrator.plan import NodePlan, Plan
from orchestrator.reasons import Stop
from orchestrator.runs import lock
from orchestrator.runs.codec import decode
from orchestrator.runs.folder import LOGS, RUN, load_json
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.names import checked_name
from orchestrator.runs.old_records import renewed_record
from orchestrator.runs.options import Settings
from orchestrator.runs.outcome import Outcome, State

_END_OF_TIME = 2.5e11  # seconds since the epoch, the year 9892


@dataclass(frozen=True)
class Attempt:
    """One attempt that failed: its logs are in `attempt-<number>` to `attempt-<last>`, several where the
    launcher has started ranks again. Times are seconds since the epoch.

    `lost` are the nodes that are not used again: what they still ran could not be seen to end.
    """

    number: int
    last: int
    began: float
    ended: float
    exit_code: int
    summary: str
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What `run.json` has of a run, written by this version of `orch`; no secret is in it.

    `began` and `ended` are seconds since the epoch. `missing` names the nodes whose logs are not complete
    on this machine, though the run has ended; `outcome` says in a word how it ended (None while it goes
    on), `detail` the end of `summary` that adds to how it ended, `verdict` why it failed, `stop` why it was
    stopped where that is how it ended. `plan` is that of the latest `attempt`; `failed` are the attempts
    that have failed and were followed by another, `former` the nodes that had a share then and have none
    any more. `spec` is how it is started again when it fails (None: it is not).

    Raises ValueError for a name or a time that no run has.
    """

    orch: str
    state: State
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
    spec: LaunchSpec | None = None
    outcome: Outcome | None = None
    stop: Stop | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        checked_name(self.plan.run)
        for time in (self.began, self.ended):
            if time is not None and not 0 <= time < _END_OF_TIME:  # which NaN is not either
                raise ValueError(f"{time} is no time in seconds since the epoch")


@dataclass(frozen=True, kw_only=True)
class SavedRun(RunRecord):
    """A run in a `folder` on this machine."""

    folder: Path

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
        """The controller of the run now."""
        return lock.find_controller(self.folder)


def load_run(folder: Path, *, of_anyone: bool = False) -> SavedRun | None:
    """Return the run in `folder`; None if there is no record of a run that can be read.

    None also if another user may have written it (`why_untrusted` reports why), unless `of_anyone`: then
    nothing may act on it.
    """
    try:
        record: RunRecord = decode(RunRecord, renewed_record(_load(folder, own=not of_anyone)))
    except (KeyError, TypeError, AttributeError, ValueError, OSError):
        return None  # written by another version, or cut off while it was made
    return SavedRun(folder=folder, **vars(record))


def why_untrusted(folder: Path) -> trust.Untrusted | None:
    """Return why the record in the folder of a run is not obeyed: somebody else may have written it."""
    try:
        os.close(trust.open_file(str(_own(folder) / RUN), own=True))
    except trust.Untrusted as error:
        return error
    except (OSError, ValueError):  # there is none, or none that anybody can read
        pass
    return None


def _load(folder: Path, *, own: bool) -> Any:
    place = _own(folder) if own else folder
    return load_json(place / RUN, own=own)


def _own(folder: Path) -> Path:
    return Path(trust.own_folder(str(folder), str(folder), create=False, strict=True))
