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

`run` and `examine` block until the job has ended, and all checks are made; `orchestrator.launch.launch` and
`orchestrator.check.check` are the same for asyncio, with events as they happen.
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
    from orchestrator.plan import Job, Plan
    from orchestrator.preflight.model import Finding, Level, Remedy, Status
    from orchestrator.preflight.report import Report
    from orchestrator.remote.ssh import ConnectOptions
    from orchestrator.runs.verdict import Verdict

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
    "Report",
    "Request",
    "Status",
    "SyncError",
    "UsageError",
    "Verdict",
    "examine",
    "load",
    "run",
    "select",
]

_HOMES = {
    "orchestrator.check": ("CheckRequest", "examine"),
    "orchestrator.inventory": ("Host", "Inventory", "Main", "load", "select"),
    "orchestrator.launch": ("Request", "run"),
    "orchestrator.plan": ("Job", "Plan"),
    "orchestrator.preflight.model": ("Finding", "Level", "Remedy", "Status"),
    "orchestrator.preflight.report": ("Report",),
    "orchestrator.remote.ssh": ("ConnectOptions",),
    "orchestrator.runs.verdict": ("Verdict",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `orch --help` needs none of it."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "orchestrator.errors")
    return getattr(import_module(home), name)
