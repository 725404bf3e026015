"""What a launch needs to start a run, and a later controller to restart it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.inventory import Host, Main
from orchestrator.plan import Job


@dataclass(frozen=True)
class LaunchSpec:
    """The job and its hosts; `spares` may replace hosts that are lost.

    `source` is the folder that is copied to the nodes (None: they have the files), `script` is what the
    checks read (None: it is not on this machine), and `preflight` says whether to run checks. The run is
    restarted up to `restarts` times. `overwrite` replaces files that have changed on a node; `digest` is
    that of the tree that was copied (None: none). `withheld` names values that are only known masked:
    variables, options, and arguments as they are shown.
    """

    job: Job
    hosts: tuple[Host, ...]
    spares: tuple[Host, ...] = ()
    main: Main = field(default_factory=Main)
    source: Path | None = None
    script: Path | None = None
    preflight: bool = True
    restarts: int = 0
    overwrite: bool = False
    digest: str | None = None
    withheld: tuple[str, ...] = ()
