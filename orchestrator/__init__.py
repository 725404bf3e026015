"""orch: one command launches a PyTorch training script on every machine you can reach over SSH.

The same from Python:

    from orchestrator import Job, Request, load, run

    inventory = load(Path("hosts.yaml"))
    verdict = run(Request(inventory, Job("train.py"), source=Path("my-project")))
    print(verdict.exit_code, verdict.summary)

    source, script = Path("my-project"), Path("my-project/train.py")
    report = examine(CheckRequest(inventory, Job("train.py"), source, script))
    for check, finding in report.having(Status.FAIL):
        print(check.id, finding.nodes, finding.message, finding.remedy)

    saved = find("lusab")
    for node in status_of(saved).nodes:
        print(node.name, node.state, [rank.last_line for rank in node.ranks])
    for piece in Replay(saved.logs, saved.settings.skews).pieces():
        print(piece.t, piece.stream.rank, piece.data)

`run` and `examine` block until the job has ended, and all checks are made; `orchestrator.launch.launch` and
`orchestrator.check.check` are the same for asyncio, with events as they happen. So are, for a run that
somebody has launched, `orchestrator.runs.watch.watch`, `orchestrator.attach.attach`,
`orchestrator.stop.stop` and `orchestrator.prune.prune`; `orchestrator.catch_up.catch_up` has what this
machine knows of it be as new as can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.check import CheckRequest, examine
    from orchestrator.errors import (
        ConnectError,
        InventoryError,
        LaunchError,
        NodeError,
        OrchError,
        PlanError,
        PreflightError,
        SyncError,
        UsageError,
    )
    from orchestrator.inventory import Host, Inventory, Main, load, select
    from orchestrator.launch import Request, run
    from orchestrator.logs.replay import Replay
    from orchestrator.plan import Job, Plan
    from orchestrator.preflight.model import Finding, Level, Remedy, Status
    from orchestrator.preflight.report import Report
    from orchestrator.remote.ssh import ConnectOptions
    from orchestrator.runs.registry import all_runs, find
    from orchestrator.runs.saved import Saved
    from orchestrator.runs.settings import Terms
    from orchestrator.runs.verdict import Verdict
    from orchestrator.status import RunStatus, status_of

__version__ = "0.1.0"

__all__ = [
    "CheckRequest",
    "ConnectError",
    "ConnectOptions",
    "Finding",
    "Host",
    "Inventory",
    "InventoryError",
    "Job",
    "LaunchError",
    "Level",
    "Main",
    "NodeError",
    "OrchError",
    "Plan",
    "PlanError",
    "PreflightError",
    "Remedy",
    "Replay",
    "Report",
    "Request",
    "RunStatus",
    "Saved",
    "Status",
    "SyncError",
    "Terms",
    "UsageError",
    "Verdict",
    "all_runs",
    "examine",
    "find",
    "load",
    "run",
    "select",
    "status_of",
]

_HOMES = {
    "orchestrator.check": ("CheckRequest", "examine"),
    "orchestrator.inventory": ("Host", "Inventory", "Main", "load", "select"),
    "orchestrator.launch": ("Request", "run"),
    "orchestrator.logs.replay": ("Replay",),
    "orchestrator.plan": ("Job", "Plan"),
    "orchestrator.preflight.model": ("Finding", "Level", "Remedy", "Status"),
    "orchestrator.preflight.report": ("Report",),
    "orchestrator.remote.ssh": ("ConnectOptions",),
    "orchestrator.runs.registry": ("all_runs", "find"),
    "orchestrator.runs.saved": ("Saved",),
    "orchestrator.runs.settings": ("Terms",),
    "orchestrator.runs.verdict": ("Verdict",),
    "orchestrator.status": ("RunStatus", "status_of"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `orch --help` needs none of it."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "orchestrator.errors")
    return getattr(import_module(home), name)
