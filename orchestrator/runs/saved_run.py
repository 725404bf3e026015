"""A run as recorded in its folder on this machine: `run.json`, which a `Record` writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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

_MAX_TIME = 2.5e11  # seconds since the epoch, the year 9892


@dataclass(frozen=True)
class Attempt:
    """One attempt that failed. Times are in seconds since the epoch.

    Its logs are in `attempt-<number>` to `attempt-<last>`; more than one if the launcher restarted ranks.
    `lost` are the nodes that are not used again: their processes may still run.
    """

    number: int
    last: int
    began: float
    ended: float
    exit_code: int
    summary: str
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended.

    `detail` is the part of `summary` after how it ended. `missing` are the nodes with logs that are not
    complete on this machine; `verdict` is why the run failed, and `stop` why it was stopped, if it was.
    """

    exit_code: int | None
    summary: str
    missing: tuple[str, ...]
    detail: str = ""
    outcome: Outcome | None = None
    verdict: events.Explained | None = None
    stop: Stop | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord(Ending):
    """The content of `run.json`, as version `orch` wrote it; it has no secrets.

    `began` and `ended` are seconds since the epoch. `plan` is that of the latest `attempt`; `failed` are
    the attempts that failed and were followed by another, `former` the nodes that took part only in
    those. `spec` is what a restart needs (None: the run is not restarted).

    Raises ValueError for an invalid name or time.
    """

    orch: str
    state: State
    began: float
    ended: float | None
    plan: Plan
    settings: Settings
    attempt: int = 0
    failed: tuple[Attempt, ...] = ()
    former: tuple[NodePlan, ...] = ()
    spec: LaunchSpec | None = None

    def __post_init__(self) -> None:
        checked_name(self.plan.run)
        for time in (self.began, self.ended):
            if time is not None and not 0 <= time < _MAX_TIME:  # also false for NaN
                raise ValueError(f"not a time in seconds since the epoch: {time}")


@dataclass(frozen=True, kw_only=True)
class SavedRun(RunRecord):
    """A run in a `folder` on this machine."""

    folder: Path

    @property
    def nodes(self) -> tuple[NodePlan, ...]:
        """All nodes that take or took part in the run."""
        return self.plan.nodes + self.former

    @property
    def run(self) -> str:
        return self.plan.run

    @property
    def logs(self) -> Path:
        """The folder with copies of its logs: `<node>/attempt-K/rank-N.out`."""
        return self.folder / LOGS

    @property
    def has_ended(self) -> bool:
        return self.state in ("ended", "failed")

    @property
    def controller(self) -> lock.Controller | None:
        """The current controller of the run, None if it has none."""
        return lock.find_controller(self.folder)


def load_run(folder: Path, *, allow_untrusted: bool = False) -> SavedRun | None:
    """Return the run in `folder`; None if it has no readable record.

    None also if another user may have written it (`why_untrusted` reports why), unless `allow_untrusted`:
    then nothing may act on it.
    """
    try:
        path = (folder if allow_untrusted else _own(folder)) / RUN
        record: RunRecord = decode(
            RunRecord, renewed_record(load_json(path, own=not allow_untrusted))
        )
    except (KeyError, TypeError, AttributeError, ValueError, OSError):
        return None  # another version wrote it, or it was cut off
    return SavedRun(folder=folder, **vars(record))


def why_untrusted(folder: Path) -> trust.Untrusted | None:
    """Return why the record in the folder of a run is ignored: another user may have written it."""
    try:
        os.close(trust.open_file(str(_own(folder) / RUN), own=True))
    except trust.Untrusted as error:
        return error
    except (OSError, ValueError):  # there is no readable record
        pass
    return None


def _own(folder: Path) -> Path:
    return Path(trust.own_folder(str(folder), str(folder), create=False, strict=True))
