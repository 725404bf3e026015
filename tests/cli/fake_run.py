"""Run folders without nodes: what a controller would have written."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.logs.stream import Channel, Stream
from orchestrator.plan import Job, Network, make_plan
from orchestrator.runs.lock import find_controller
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Ending
from tests.plan.helpers import facts, host

T0 = 1_700_000_000.0
"""When the run began to print, in seconds since the epoch."""


class FakeRun:
    """The folder of a run of two ranks on each of n0, n1, ...; its nodes refuse to be reached.

    This process controls it until `leave` or `end`.
    """

    def __init__(
        self, home: Path, run: str = "lusab-babad", *, nodes: int = 2, **settings: Any
    ) -> None:
        names = [f"n{number}" for number in range(nodes)]
        hosts = [host(name, devices=2, address="127.0.0.1", port=1) for name in names]
        network = Network("10.0.0.1", ("eth0",) * nodes, None, (None,) * nodes)
        job = Job("train.py", ("--lr", "3"), launcher="direct")
        plan = make_plan(run, hosts, [facts(name) for name in names], job, network, 29500)
        root = home / ".local/state/orch/runs"
        self._record = Record.create(plan, Settings(script=job.command, **settings), root=root)
        self._record.write_state("running")
        self.folder = self._record.folder

    def write(
        self,
        rank: int,
        text: str | bytes,
        t: float,
        channel: Channel = "stdout",
        *,
        attempt: int = 0,
    ) -> None:
        """Have a rank print at `t` seconds after `T0`, by its node's clock."""
        stream = Stream(f"n{rank // 2}", attempt, rank, rank % 2, channel)
        data = text.encode() if isinstance(text, str) else text
        self._record.store.append(stream, self._record.store.size(stream), data, T0 + t)

    def note(self, *happened: events.Event) -> None:
        """Have events happen."""
        for event in happened:
            self._record.note(event)

    def leave(self) -> FakeRun:
        """Have its controller die."""
        self._record.close()
        return self

    def end(
        self, code: int = 0, *, age: float = 0.0, missing: tuple[str, ...] = (), **more: Any
    ) -> FakeRun:
        """Have the run end, so many seconds ago; `more` is what else its record says."""
        summary = "all 4 ranks succeeded" if code == 0 else f"rank 1 on n0 exited with {code}"
        self.note(events.Ended(self._record.plan.run, code, 5.0, summary, self.folder))
        self._record.write_state("ended", Ending(exit_code=code, summary=summary, missing=missing))
        self.leave()
        path = self.folder / "run.json"
        said = json.loads(path.read_text())
        said["began"], said["ended"] = said["ended"] - age - 5.0, said["ended"] - age
        path.write_text(json.dumps(said | more))
        return self

    def path(self, rank: int, suffix: str = "out") -> Path:
        """Return a rank's log."""
        return self.folder / f"logs/n{rank // 2}/attempt-0/rank-{rank}.{suffix}"


@contextmanager
def killing_its_controller(folder: Path) -> Iterator[None]:
    """Kill the run's controller afterwards: its nodes never report an end."""
    try:
        yield
    finally:
        controller = find_controller(folder)
        if controller is not None:
            with suppress(ProcessLookupError):
                os.kill(controller.pid, signal.SIGKILL)
