"""The files that the controller of a run writes on this machine: `run.json`, `events.jsonl`, log copies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.logs.store import Store
from orchestrator.plan import NodePlan, Plan
from orchestrator.runs.codec import encode
from orchestrator.runs.disk_space import release_space, replace_json, reserve_space
from orchestrator.runs.event_log import EventLog
from orchestrator.runs.folder import (
    EVENTS,
    LOGS,
    RUN,
    ensure_private_folder,
    read_json,
    runs_folder,
)
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.lock import Lock
from orchestrator.runs.masking import masked_node, masked_plan, masked_spec
from orchestrator.runs.options import Settings
from orchestrator.runs.outcome import State
from orchestrator.runs.saved_run import (
    Attempt,
    Ending,
    RunRecord,
    SavedRun,
    load_run,
    why_untrusted,
)
from orchestrator.runs.state import RunState, state_of
from orchestrator.runs.stop_request import release_request_space, reserve_request_space
from orchestrator.version import __version__

_EXTRA_SPACE = 1 << 17  # bytes that run.json may grow by: a verdict quotes the last output of ranks
_NOT_ENDED = Ending(exit_code=None, summary="", missing=())


class Record:
    """The record of one run, held by its only controller. `create` and `reopen` return one."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        settings: Settings,
        began: float,
        lock: Lock,
        *,
        background: bool,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.settings = settings
        self.spec: LaunchSpec | None = None
        """What a restart needs; None: the run is not restarted."""
        self.attempt = 0
        """The number of the current attempt, which may be the last of `failed`."""
        self.failed: tuple[Attempt, ...] = ()
        self.former: tuple[NodePlan, ...] = ()
        """Nodes that took part in a failed attempt but not in the current one."""
        self.logs = folder / LOGS
        self.store = Store(self.logs, settings.log_limit)
        self.began = began
        self.background = background
        self._pending: RunRecord | None = None
        self._has_ended = False
        self._lock = lock
        self._log = EventLog(folder / EVENTS)

    @classmethod
    def create(
        cls,
        plan: Plan,
        settings: Settings,
        spec: LaunchSpec | None = None,
        *,
        root: Path | None = None,
    ) -> Record:
        """Create the record of a new run; its folder, and missing parents, get mode 0700.

        Raises LaunchError.
        """
        runs = root or runs_folder()
        folder = runs / plan.run
        lock = None
        try:
            ensure_private_folder(runs, root)
            folder.mkdir(mode=0o700)
            lock = Lock.take(folder, background=False)
            assert lock is not None, "no other process knows the folder yet"
            record = cls(folder, plan, settings, time.time(), lock, background=False)
            record.spec = spec
            record.write_state("starting")
            record._reserve_space()
        except OSError as error:
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
            raise LaunchError(
                f"the run cannot be recorded in {folder}: {error.strerror}",
                remedy="free disk space there, or set XDG_STATE_HOME to another folder",
            ) from None
        return record

    @classmethod
    def reopen(cls, saved: SavedRun) -> Record | None:
        """Return the record of a run to continue it; None if the run already has a controller.

        Raises LaunchError if another user may have written it.
        """
        error = why_untrusted(saved.folder)
        if error is not None:
            raise LaunchError(
                f"run {saved.run} is ignored: {error.path} {error.why}", remedy=error.remedy
            )
        lock = Lock.take(saved.folder, background=True)
        if lock is None:
            return None
        saved = load_run(saved.folder) or saved  # the last controller may have changed it
        record = cls(saved.folder, saved.plan, saved.settings, saved.began, lock, background=True)
        record.spec, record.attempt = saved.spec, saved.attempt
        record.failed, record.former = saved.failed, saved.former
        return record

    @property
    def is_between_attempts(self) -> bool:
        """Whether the present attempt has failed and the next has not started."""
        return bool(self.failed) and self.failed[-1].number == self.attempt

    def fail(self, attempt: Attempt) -> None:
        """Record that the present attempt has failed and another will follow.

        Raises OSError; then `write_pending` writes it later.
        """
        self.failed += (attempt,)
        self.write_state("running")

    def begin_attempt(self, plan: Plan, number: int, skews: Mapping[str, float]) -> None:
        """Record that attempt `number` starts, with `plan`; `skews` are the clock skews of its nodes.

        Raises OSError; then it must not start, since the next controller would not know of it.
        """
        before = self.former, self.plan, self.attempt, self.settings
        names = {node.name for node in plan.nodes}
        self.former = tuple(
            node for node in (*self.former, *self.plan.nodes) if node.name not in names
        )
        self.plan, self.attempt = plan, number
        self.settings = replace(self.settings, skews={**self.settings.skews, **skews})
        try:
            self.write_state("running")
        except OSError:
            self.former, self.plan, self.attempt, self.settings = before
            with suppress(OSError):  # `write_pending` writes it later
                self.write_state("running")
            raise

    def write_state(self, state: State, ending: Ending = _NOT_ENDED) -> None:
        """Replace `run.json` atomically; it has no secrets.

        Raises OSError; then `write_pending` writes it later.
        """
        self._pending = RunRecord(
            orch=__version__,
            state=state,
            began=self.began,
            ended=time.time() if state in ("ended", "failed") else None,
            plan=masked_plan(self.plan),
            settings=self.settings,
            attempt=self.attempt,
            failed=self.failed,
            former=tuple(masked_node(node, self.plan.secrets) for node in self.former),
            spec=None if self.spec is None else masked_spec(self.spec),
            **vars(ending),
        )
        self.write_pending()

    def write_pending(self) -> None:
        """Write what could not be written before, and reserve space for the next state.

        The space is released once the run has ended. Raises OSError.
        """
        if self._pending is not None:
            replace_json(self.folder / RUN, encode(self._pending))
            self._has_ended = self._pending.ended is not None
            self._pending = None
        with suppress(OSError):  # reserved once there is space
            if self._has_ended:
                release_space(self.folder / RUN)
                release_request_space(self.folder)
            else:
                self._reserve_space()

    def _reserve_space(self) -> None:
        path = self.folder / RUN
        reserve_space(path, _EXTRA_SPACE + path.stat().st_size)
        reserve_request_space(self.folder)

    def amend(self, *, missing: tuple[str, ...]) -> None:
        """Replace the list of nodes with incomplete logs. Raises OSError."""
        path = self.folder / RUN
        replace_json(path, {**read_json(path), "missing": list(missing)})

    def state(self) -> RunState:
        """Return the state from the event log, which earlier controllers wrote too. Raises OrchError."""
        return state_of(self.folder)

    def note(self, event: events.Event) -> None:
        """Append an event to the run's event log. Raises OSError."""
        self._log.append(event)

    def close(self) -> None:
        """Close the files and release the lock, so that another controller can take over."""
        self.store.close()
        self._log.close()
        self._lock.release()
