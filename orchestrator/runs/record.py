"""What whoever minds a run writes of it on this machine: `run.json`, `events.jsonl`, the copies of logs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from orchestrator import __version__, events
from orchestrator.errors import LaunchError
from orchestrator.logs.store import Store
from orchestrator.plan import Plan
from orchestrator.runs.event_log import EventLog
from orchestrator.runs.folder import EVENTS, LOGS, RUN, read_json, runs_folder, write_json
from orchestrator.runs.lock import Lock
from orchestrator.runs.plans import describe
from orchestrator.runs.saved import Saved
from orchestrator.runs.settings import Settings


class Record:
    """The record of one run, held by its one controller. `create` and `reopen` make one."""

    def __init__(
        self, folder: Path, plan: Plan, settings: Settings, began: float, lock: Lock
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.settings = settings
        self.logs = folder / LOGS
        self.store = Store(self.logs)
        self.began = began
        self._lock = lock
        self._log = EventLog(folder / EVENTS)

    @classmethod
    def create(cls, plan: Plan, settings: Settings, *, root: Path | None = None) -> Record:
        """Begin the record of a new run, in a folder of mode 0700. Raises LaunchError."""
        folder = (root or runs_folder()) / plan.run
        lock = None
        try:
            folder.mkdir(mode=0o700, parents=True)
            lock = Lock.take(folder, background=False)
            assert lock is not None, "nobody else knows of the folder yet"
            record = cls(folder, plan, settings, time.time(), lock)
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
        return cls(saved.folder, saved.plan, saved.settings, saved.began, lock)

    def write_state(
        self,
        state: str,
        *,
        exit_code: int | None = None,
        summary: str = "",
        missing: tuple[str, ...] = (),
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
            "missing": list(missing),
            "settings": self.settings.describe(),
            "plan": describe(self.plan),
        }
        write_json(self.folder / RUN, value)

    def amend(self, *, missing: tuple[str, ...]) -> None:
        """Say anew whose logs are not complete here. Raises OSError."""
        path = self.folder / RUN
        write_json(path, {**read_json(path), "missing": list(missing)})

    def note(self, event: events.Event) -> None:
        """Append an event to the run's event log. Raises OSError."""
        self._log.append(event)

    def close(self) -> None:
        """Let somebody else mind the run."""
        self.store.close()
        self._log.close()
        self._lock.release()
