"""What it takes to start a run, and to start it again: by the launch, or by a controller after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.inventory import Host, Main
from orchestrator.plan import Job


@dataclass(frozen=True)
class LaunchSpec:
    """The job, and the hosts that it is for; `spares` may take the place of one that is lost.

    `source` is the folder that goes to the nodes (None: they have the files), `script` what the checks look
    into (None: it cannot be seen from here), `preflight` whether there are checks. The run is started
    again up to `restarts` times. `overwrite` says that files go even where those on a node have
    changed, and `digest` which tree has gone (None: none has, or not yet). `withheld` names what is not
    known here but for a mask: variables, options, and arguments as they are shown.
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
