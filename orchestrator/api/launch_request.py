"""What to launch, and whether it can be launched at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import PlanError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.pipeline.transport_needs import require_background, require_files
from orchestrator.plan import Job
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.remote.base import Transport
from orchestrator.remote.transports import create
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.names import new_name
from orchestrator.runs.options import SYNC_LIMIT, RunOptions


@dataclass(frozen=True)
class Request:
    """What to launch.

    `source` is the folder to copy to the nodes (None: they have the files), `script` the file to check
    before anything starts (None if it is not on this machine), and `preflight` the level of the checks
    (None: none). `detach` returns once the job runs, controlled in the background; `wait` starts once no
    other run uses the nodes. `restarts` limits how often the whole job is restarted after a failure (an
    elastic job has its own limit, for torchrun). A source of more than `sync_limit` bytes is refused
    (None: no limit); `overwrite` replaces files that have changed on a node. `transport` is open. `call` is
    the folder that has the call of the job's function, if it has one; the run gets a copy.
    """

    inventory: Inventory
    job: Job
    source: Path | None
    script: Path | None = None
    name: str | None = None
    preflight: Level | None = Level.QUICK
    detach: bool = False
    wait: bool = False
    restarts: int = 0
    overwrite: bool = False
    terms: RunOptions = field(default_factory=RunOptions)
    transport: Transport = field(default_factory=create)
    sync_limit: int | None = SYNC_LIMIT
    call: Path | None = None

    @property
    def spec(self) -> LaunchSpec:
        """What is needed to start the job, and to restart it."""
        return LaunchSpec(
            job=self.job,
            hosts=self.inventory.hosts,
            spares=self.inventory.spares,
            main=self.inventory.main,
            source=self.source and self.source.absolute(),
            script=self.script and self.script.absolute(),
            preflight=self.preflight is not None,
            restarts=self.restarts,
            overwrite=self.overwrite,
        )

    def new_name(self) -> str:
        """Return a name for a run of it."""
        return new_name(self.name, self.job.script, module=self.job.module)


def check(request: Request) -> None:
    """Raise UsageError for an invalid request, PlanError if the script would fail under the launcher."""
    terms = request.terms
    if request.detach:
        require_background(request.transport, "--detach")
    if request.source is not None:
        require_files(
            request.transport,
            f"{request.source} cannot be copied to the nodes",
            "bring the files there yourself, and use --no-sync",
        )
    if terms.fetch:
        require_files(request.transport, "--fetch", "leave it out, and fetch the files yourself")
    if request.job.elastic is not None and (request.restarts or terms.keep_going):
        raise UsageError(
            "torchrun decides what an elastic job does when a rank fails",
            remedy="leave out either --elastic or --on-failure continue",
        )
    launcher = choose_launcher(request.inventory.hosts, request.job)
    if request.script is None:
        return
    text = request.script.read_text(encoding="utf-8-sig", errors="replace")
    problem = launcher.check_script(text, request.job)
    if problem is not None:
        raise PlanError(
            f"{request.script}:{problem.line}: {problem.message}", remedy=problem.remedy
        )
