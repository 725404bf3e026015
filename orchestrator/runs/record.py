"""A run's folder on the controller: `run.json`, `events.jsonl` and the copies of its logs."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import platformdirs

from orchestrator import __version__, events
from orchestrator.errors import LaunchError
from orchestrator.logs.store import Store
from orchestrator.plan import Plan
from orchestrator.plan.paste import masked


def state_folder() -> Path:
    """Return orch's state folder on this machine ($XDG_STATE_HOME/orch)."""
    return Path(platformdirs.user_state_dir("orch"))


class Record:
    """The record of one run below `state_folder() / "runs"`; made with mode 0700."""

    def __init__(self, plan: Plan, *, root: Path | None = None) -> None:
        self.folder = (root or state_folder()) / "runs" / plan.run
        self.store = Store(self.folder / "logs")
        self._plan = plan
        self._began = time.time()
        try:
            self.folder.mkdir(mode=0o700, parents=True)
            log = os.open(
                self.folder / "events.jsonl",
                os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
                0o600,
            )
            self._events = os.fdopen(log, "w", encoding="utf-8", buffering=1)
            self.write_state("starting")
        except OSError as error:
            raise LaunchError(
                f"the run's record cannot be kept in {self.folder}: {error.strerror}",
                remedy="make room there, or name another place with XDG_STATE_HOME",
            ) from None

    def write_state(self, state: str, **more: Any) -> None:
        """Replace `run.json`, all at once; no secret is in it."""
        value = {
            "orch": __version__,
            "run": self._plan.run,
            "state": state,
            "began": self._began,
            "plan": _describe(self._plan),
            **more,
        }
        temporary = self.folder / "run.json.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
        temporary.replace(self.folder / "run.json")

    def note(self, event: events.Event) -> None:
        """Append an event to the run's event log; output is in the logs, the plan in `run.json`."""
        if isinstance(event, (events.Output, events.Planned, events.SyncAdvanced)):
            return
        fields = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(event).items()
        }
        line = {"at": time.time(), "event": type(event).__name__, **fields}
        self._events.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self.store.close()
        self._events.close()


def _describe(plan: Plan) -> dict[str, Any]:
    return {
        "launcher": plan.launcher,
        "main_address": plan.main_address,
        "main_port": plan.main_port,
        "subnet": plan.subnet,
        "world_size": plan.world_size,
        "nodes": [
            {
                "name": node.name,
                "address": node.host.address,
                "node_rank": node.node_rank,
                "first_rank": node.first_rank,
                "devices": node.devices,
                "interface": node.interface,
                "workdir": node.workdir,
                "environment": masked(node.environment, plan.secrets),
                "processes": [
                    {
                        "name": process.name,
                        "argv": list(process.argv),
                        "environment": masked(process.environment, plan.secrets),
                    }
                    for process in node.processes
                ],
            }
            for node in plan.nodes
        ],
    }
