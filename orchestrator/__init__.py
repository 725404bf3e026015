"""orch: one command launches a PyTorch training script on every machine you can reach over SSH.

The same from Python (`local=2` is two nodes on this machine; `hosts="hosts.yaml"` names your own):

    >>> from orchestrator import launch, get_run, preflight
    >>> preflight("train.py", local=2, launcher="direct", only=["net.tcp"]).status.value
    'pass'
    >>> run = launch("train.py", "--epochs", 1, local=2, launcher="direct", detach=True)
    >>> for line in run.logs(rank=0, follow=True):
    ...     print(line.rank, line.node, line.text)
    0 local0 epoch 1
    >>> result = run.wait().raise_for_status()
    >>> result.outcome, result.exit_code
    ('succeeded', 0)

Without `detach`, `launch` returns when the run has ended. Any run of this machine can be taken up by its
name, in another process too:

    >>> run = get_run("latest")
    >>> [(node.name, node.state, len(node.ranks)) for node in run.status().nodes]
    [('local0', 'ended', 1), ('local1', 'ended', 1)]
    >>> run.diagnose().verdict is None
    True

A `Run` also has `stop()` and `fetch()`. All of it works inside a running event loop, as in a notebook.
Asynchronous code has `alaunch`, `apreflight`, `aget_run` and `aruns`; their runs are `AsyncRun`, whose
methods have the same names and are awaited. What goes wrong is an `OrchError`, with the sentence that the
command line would print.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from orchestrator.util.frontend import Frontend, set_frontend
from orchestrator.version import __version__ as __version__

if TYPE_CHECKING:
    from orchestrator.api.executor import Executor as Executor
    from orchestrator.api.failure import RemoteError as RemoteError
    from orchestrator.api.functions import aget_run as aget_run
    from orchestrator.api.functions import alaunch as alaunch
    from orchestrator.api.functions import apreflight as apreflight
    from orchestrator.api.functions import aruns as aruns
    from orchestrator.api.functions import get_run as get_run
    from orchestrator.api.functions import launch as launch
    from orchestrator.api.functions import preflight as preflight
    from orchestrator.api.functions import runs as runs
    from orchestrator.api.job_handle import Job as Job
    from orchestrator.api.remote_function import RemoteFunction as RemoteFunction
    from orchestrator.api.remote_function import function as function
    from orchestrator.api.remote_function import run as run
    from orchestrator.api.remote_function import submit as submit
    from orchestrator.api.result import Result as Result
    from orchestrator.api.result import RunFailed as RunFailed
    from orchestrator.api.results import NoResult as NoResult
    from orchestrator.api.results import Results as Results
    from orchestrator.api.run import AsyncRun as AsyncRun
    from orchestrator.api.run import Run as Run
    from orchestrator.api.status import NodeStatus as NodeStatus
    from orchestrator.api.status import RankStatus as RankStatus
    from orchestrator.api.status import RunStatus as RunStatus
    from orchestrator.diagnose import Diagnosis as Diagnosis
    from orchestrator.errors import ConnectError as ConnectError
    from orchestrator.errors import InventoryError as InventoryError
    from orchestrator.errors import LaunchError as LaunchError
    from orchestrator.errors import NodeError as NodeError
    from orchestrator.errors import OrchError as OrchError
    from orchestrator.errors import OutputError as OutputError
    from orchestrator.errors import PlanError as PlanError
    from orchestrator.errors import PreflightError as PreflightError
    from orchestrator.errors import SyncError as SyncError
    from orchestrator.errors import UsageError as UsageError
    from orchestrator.inventory import Host as Host
    from orchestrator.inventory import Inventory as Inventory
    from orchestrator.inventory import Main as Main
    from orchestrator.inventory import load as load
    from orchestrator.inventory import select as select
    from orchestrator.logs.log_line import LogLine as LogLine
    from orchestrator.preflight.model import Finding as Finding
    from orchestrator.preflight.model import Level as Level
    from orchestrator.preflight.model import Remedy as Remedy
    from orchestrator.preflight.model import Status as Status
    from orchestrator.preflight.report import Report as Report

_HOMES = {
    "orchestrator.api.functions": (
        "aget_run", "alaunch", "apreflight", "aruns", "get_run", "launch", "preflight", "runs",
    ),
    "orchestrator.api.executor": ("Executor",),
    "orchestrator.api.failure": ("RemoteError",),
    "orchestrator.api.job_handle": ("Job",),
    "orchestrator.api.remote_function": ("RemoteFunction", "function", "run", "submit"),
    "orchestrator.api.result": ("Result", "RunFailed"),
    "orchestrator.api.results": ("NoResult", "Results"),
    "orchestrator.api.run": ("AsyncRun", "Run"),
    "orchestrator.api.status": ("NodeStatus", "RankStatus", "RunStatus"),
    "orchestrator.diagnose": ("Diagnosis",),
    "orchestrator.errors": (
        "ConnectError", "InventoryError", "LaunchError", "NodeError", "OrchError", "OutputError",
        "PlanError", "PreflightError", "SyncError", "UsageError",
    ),
    "orchestrator.inventory": ("Host", "Inventory", "Main", "load", "select"),
    "orchestrator.logs.log_line": ("LogLine",),
    "orchestrator.preflight.model": ("Finding", "Level", "Remedy", "Status"),
    "orchestrator.preflight.report": ("Report",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


class _Package(ModuleType):
    """This package: its promised names are what `_HOMES` says, whatever modules are imported."""

    def __getattr__(self, name: str) -> Any:
        """Import what is asked for when it is asked for: `orch --help` needs none of it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME_OF[name]), name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set it, unless the import of the subpackage `preflight` or `runs` would replace that function.

        Importing from such a package (`from orchestrator.runs import lock`) works all the same.
        """
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package


def _notebook() -> Frontend:
    """Import what notebooks show: it is above the rooms whose values it renders."""
    from orchestrator.ui import notebook

    return notebook


set_frontend(_notebook)
