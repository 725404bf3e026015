"""Plans, reports and records for tests of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.plan import Job, Network, Plan, make_plan
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from tests.plan.helpers import facts, host

OK, TERM, KILL = ProcessEnd(0, None), ProcessEnd(None, 15), ProcessEnd(None, 9)
RUNNING = StatusReport("running", None, ())
ENDED = StatusReport("ended", OK, ())


def plan_of(*devices: int, run: str = "r", **job: Any) -> Plan:
    """Return the plan of a job on nodes n0, n1, ... with these numbers of ranks."""
    hosts = [host(f"n{i}", devices=count) for i, count in enumerate(devices)]
    network = Network(
        "10.0.0.1", tuple("eth0" for _ in devices), None, tuple(None for _ in devices)
    )
    job = {"script": "t.py", **job}
    return make_plan(run, hosts, [facts(h.name) for h in hosts], Job(**job), network, 1)


def rank(number: int, end: ProcessEnd | None = None, at: float = 1.0) -> RankReport:
    """Return the report of a rank that began at 0 and ended at `at`, if it has an `end`."""
    return RankReport(number, number, 0, 100 + number, 0.0, None if end is None else at, end)


def record_in(root: Path, plan: Plan | None = None, **settings: Any) -> Record:
    """Return the record of a new run below `root`."""
    return Record.create(plan or plan_of(1, 1), Settings(**settings), root=root)
