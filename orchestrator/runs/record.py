"""What the controller of a run writes on this machine: `run.json`, `events.jsonl`, copies of logs."""

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
from orchestrator.reasons import Stop
from orchestrator.runs.codec import encode
from orchestrator.runs.disk_room import release_room, replace_json, set_room_aside
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
from orchestrator.runs.outcome import Outcome, State
from orchestrator.runs.saved_run import (
    Attempt,
    RunRecord,
    SavedRun,
    load_run,
    why_untrusted,
)
from orchestrator.runs.state import RunState, state_of
from orchestrator.runs.stop_request import release_room_for_request, reserve_room_for_request
from orchestrator.version import __version__

_RESERVE = 1 << 17  # bytes: a verdict quotes what ranks have printed last


class Record:
    """The record of one run, held by its one controller. `create` and `reopen` make one."""

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
        """How it is started again when it fails; None: it is not."""
        self.attempt = 0
        """The number of the attempt that goes on, or has failed and is the last of `failed`."""
        self.failed: tuple[Attempt, ...] = ()
        self.former: tuple[NodePlan, ...] = ()
        """Nodes that had a share of an attempt that has failed, and have none any more."""
        self.logs = folder / LOGS
        self.store = Store(self.logs, settings.log_limit)
        self.began = began
        self.background = background
        self._unwritten: RunRecord | None = None
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
        """Begin the record of a new run, in a folder of mode 0700, as are those above it that were missing.

        Raises LaunchError.
        """
        runs = root or runs_folder()
        folder = runs / plan.run
        lock = None
        try:
            ensure_private_folder(runs, root)
            folder.mkdir(mode=0o700)
            lock = Lock.take(folder, background=False)
            assert lock is not None, "nobody else knows of the folder yet"
            record = cls(folder, plan, settings, time.time(), lock, background=False)
            record.spec = spec
            record.write_state("starting")
            record._set_room_aside()
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
    def reopen(cls, saved: SavedRun) -> Record | None:
        """Go on with the record of a run, or return None when it has a controller already.

        Raises LaunchError where somebody else may have written it.
        """
        error = why_untrusted(saved.folder)
        if error is not None:
            raise LaunchError(
                f"run {saved.run} is left alone: {error.path} {error.why}", remedy=error.remedy
            )
        lock = Lock.take(saved.folder, background=True)
        if lock is None:
            return None
        saved = load_run(saved.folder) or saved  # who had it until now may have gone on
        record = cls(saved.folder, saved.plan, saved.settings, saved.began, lock, background=True)
        record.spec, record.attempt = saved.spec, saved.attempt
        record.failed, record.former = saved.failed, saved.former
        return record

    @property
    def is_between_attempts(self) -> bool:
        """Whether the attempt has failed, and no other has begun."""
        return bool(self.failed) and self.failed[-1].number == self.attempt

    def fail(self, attempt: Attempt) -> None:
        """Note that the attempt that goes on has failed; another is to follow.

        Raises OSError; then it is noted, and `write_rest` writes it.
        """
        self.failed += (attempt,)
        self.write_state("running")

    def begin_attempt(self, plan: Plan, number: int, skews: Mapping[str, float]) -> None:
        """Note that another attempt begins, with `plan`; `skews` is of its nodes.

        Raises OSError; then none begins: whoever comes after us has to know of it.
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
            with suppress(OSError):  # `write_rest` writes it
                self.write_state("running")
            raise

    def write_state(
        self,
        state: State,
        *,
        exit_code: int | None = None,
        summary: str = "",
        detail: str = "",
        outcome: Outcome | None = None,
        missing: tuple[str, ...] = (),
        verdict: events.Explained | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Replace `run.json`, all at once; no secret is in it.

        Raises OSError; then `write_rest` writes it.
        """
        self._unwritten = RunRecord(
            orch=__version__,
            state=state,
            began=self.began,
            ended=time.time() if state in ("ended", "failed") else None,
            plan=masked_plan(self.plan),
            settings=self.settings,
            exit_code=exit_code,
            summary=summary,
            detail=detail,
            missing=missing,
            verdict=verdict,
            attempt=self.attempt,
            failed=self.failed,
            former=tuple(masked_node(node, self.plan.secrets) for node in self.former),
            spec=None if self.spec is None else masked_spec(self.spec),
            outcome=outcome,
            stop=stop,
        )
        self.write_rest()

    def write_rest(self) -> None:
        """Write what there was no room for, and take room for the next time; none once the run has ended.

        Raises OSError.
        """
        if self._unwritten is not None:
            replace_json(self.folder / RUN, encode(self._unwritten))
            self._has_ended = self._unwritten.ended is not None
            self._unwritten = None
        with suppress(OSError):  # it is taken when there is some
            if self._has_ended:
                release_room(self.folder / RUN)
                release_room_for_request(self.folder)
            else:
                self._set_room_aside()

    def _set_room_aside(self) -> None:
        path = self.folder / RUN
        set_room_aside(path, _RESERVE + path.stat().st_size)
        reserve_room_for_request(self.folder)

    def amend(self, *, missing: tuple[str, ...]) -> None:
        """Say anew whose logs are not complete here. Raises OSError."""
        path = self.folder / RUN
        replace_json(path, {**read_json(path), "missing": list(missing)})

    def state(self) -> RunState:
        """Return what the run's event log tells, of controllers before us too. Raises OrchError."""
        return state_of(self.folder)

    def note(self, event: events.Event) -> None:
        """Append an event to the run's event log. Raises OSError."""
        self._log.append(event)

    def close(self) -> None:
        """Let another controller take over."""
        self.store.close()
        self._log.close()
        self._lock.release()
