"""What whoever minds a run writes of it on this machine: `run.json`, `events.jsonl`, the copies of logs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import __version__, events
from orchestrator.errors import LaunchError
from orchestrator.logs.store import Store
from orchestrator.plan import NodePlan, Plan
from orchestrator.runs.attempts import Attempt
from orchestrator.runs.event_log import EventLog
from orchestrator.runs.folder import EVENTS, LOGS, RUN, read_json, runs_folder, write_json
from orchestrator.runs.lock import Lock
from orchestrator.runs.plain import plain
from orchestrator.runs.plans import describe, describe_node
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.saved import Saved, read_saved
from orchestrator.runs.settings import Settings
from orchestrator.runs.state import RunState, state_of


class Record:
    """The record of one run, held by its one controller. `create` and `reopen` make one."""

    def __init__(
        self, folder: Path, plan: Plan, settings: Settings, began: float, lock: Lock
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.settings = settings
        self.recipe: Recipe | None = None
        """How it is started again when it fails; None: it is not."""
        self.attempt = 0
        """The number of the attempt that goes on, or has failed and is the last of `failed`."""
        self.failed: tuple[Attempt, ...] = ()
        self.former: tuple[NodePlan, ...] = ()
        """Nodes that had a share of an attempt that has failed, and have none any more."""
        self.logs = folder / LOGS
        self.store = Store(self.logs)
        self.began = began
        self._lock = lock
        self._log = EventLog(folder / EVENTS)

    @classmethod
    def create(
        cls,
        plan: Plan,
        settings: Settings,
        recipe: Recipe | None = None,
        *,
        root: Path | None = None,
    ) -> Record:
        """Begin the record of a new run, in a folder of mode 0700. Raises LaunchError."""
        folder = (root or runs_folder()) / plan.run
        lock = None
        try:
            folder.mkdir(mode=0o700, parents=True)
            lock = Lock.take(folder, background=False)
            assert lock is not None, "nobody else knows of the folder yet"
            record = cls(folder, plan, settings, time.time(), lock)
            record.recipe = recipe
            record.write_state("starting")
        except OSError as error:
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
            raise LaunchError(
                f"the run's record cannot be kept in {folder}: {error.strerror}",
                remedy="make room there, or name another place with XDG_STATE_HOME",
            ) from None
        return record

    @classmethod
    def reopen(cls, saved: Saved) -> Record | None:
        """Go on with the record of a run, or return None when somebody minds it already."""
        lock = Lock.take(saved.folder, background=True)
        if lock is None:
            return None
        saved = read_saved(saved.folder) or saved  # who had it until now may have gone on
        record = cls(saved.folder, saved.plan, saved.settings, saved.began, lock)
        record.recipe, record.attempt = saved.recipe, saved.attempt
        record.failed, record.former = saved.failed, saved.former
        return record

    @property
    def is_between_attempts(self) -> bool:
        """Whether the attempt has failed, and no other has begun."""
        return bool(self.failed) and self.failed[-1].number == self.attempt

    def fail(self, attempt: Attempt) -> None:
        """Note that the attempt that goes on has failed; another is to follow. Raises OSError."""
        self.failed += (attempt,)
        self.write_state("running")

    def begin_attempt(self, plan: Plan, number: int, skews: Mapping[str, float]) -> None:
        """Note that another attempt begins, with `plan`; `skews` is of its nodes. Raises OSError."""
        names = {node.name for node in plan.nodes}
        self.former = tuple(
            node for node in (*self.former, *self.plan.nodes) if node.name not in names
        )
        self.plan, self.attempt = plan, number
        self.settings = replace(self.settings, skews={**self.settings.skews, **skews})
        self.write_state("running")

    def write_state(
        self,
        state: str,
        *,
        exit_code: int | None = None,
        summary: str = "",
        missing: tuple[str, ...] = (),
        verdict: events.Explained | None = None,
    ) -> None:
        """Replace `run.json`, all at once; no secret is in it. Raises OSError."""
        value: dict[str, Any] = {
            "orch": __version__,
            "run": self.plan.run,
            "state": state,
            "began": self.began,
            "ended": time.time() if state in ("ended", "failed") else None,
            "exit_code": exit_code,
            "summary": summary,
            "verdict": None if verdict is None else plain(verdict),
            "missing": list(missing),
            "settings": self.settings.describe(),
            "plan": describe(self.plan),
            "attempt": self.attempt,
            "failed": [plain(attempt) for attempt in self.failed],
            "former": [describe_node(node, self.plan.secrets) for node in self.former],
            "recipe": None if self.recipe is None else self.recipe.describe(secrets=False),
        }
        write_json(self.folder / RUN, value)

    def amend(self, *, missing: tuple[str, ...]) -> None:
        """Say anew whose logs are not complete here. Raises OSError."""
        path = self.folder / RUN
        write_json(path, {**read_json(path), "missing": list(missing)})

    def state(self) -> RunState:
        """Return what the run's event log tells, of controllers before us too. Raises OSError."""
        return state_of(self.folder)

    def note(self, event: events.Event) -> None:
        """Append an event to the run's event log. Raises OSError."""
        self._log.append(event)

    def close(self) -> None:
        """Let somebody else mind the run."""
        self.store.close()
        self._log.close()
        self._lock.release()
