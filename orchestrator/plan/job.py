"""The job that the user wants to run, independent of the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_PORT = 29500
"""torchrun's default; used if it is free on the main node."""


@dataclass(frozen=True)
class Elastic:
    """torchrun continues with `fewest` to `most` nodes, and restarts ranks up to `restarts` times."""

    fewest: int
    most: int
    restarts: int = 3

    def __str__(self) -> str:
        return f"--elastic {self.fewest}:{self.most}"


@dataclass(frozen=True)
class Function:
    """A Python function that the ranks call; `python` is the version (3.12) that its code needs (None: any,
    as the code is in modules that the nodes import).
    """

    python: str | None = None


@dataclass(frozen=True)
class Job:
    """A script and how to run it.

    `script` is a Python file, absolute or relative to the folder in which the ranks start; with `module`
    the name of a module, with `program` an executable. `devices` is the number of ranks on a node, as for
    --nproc; `devices_by_node` has that of some nodes, by name. Settings
    that are None come from the inventory. Values of variables in `secrets` are never shown. With `elastic`,
    torchrun restarts ranks, on the remaining nodes.

    `project` is the folder on this machine that the job belongs to. The working folder on a node is
    `workdir`, otherwise the inventory's, otherwise a folder of the project's own: `workdir_name`, or
    another name if another project uses that one. The ranks start in its subfolder `folder` (empty: in
    the working folder itself).

    With `function`, `script` is its name; the script that runs it is in the folder of the run on the node.
    """

    script: str
    arguments: tuple[str, ...] = ()
    module: bool = False
    program: bool = False
    launcher: str | None = None
    launcher_arguments: tuple[str, ...] = ()
    elastic: Elastic | None = None
    devices: int | str | None = None
    devices_by_node: Mapping[str, int | str] = field(default_factory=dict)
    main_address: str | None = None
    main_port: int | Literal["auto"] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    workdir_name: str = "job"
    folder: str = ""
    project: str = ""
    workdir: str | None = None
    function: Function | None = None

    def nproc_of(self, node: str) -> int | str | None:
        """Return the number of ranks of a node, as for --nproc; None: as the inventory says."""
        return self.devices_by_node.get(node, self.devices)

    @property
    def command(self) -> tuple[str, ...]:
        """The script, module or program with its arguments."""
        return (*(("-m",) if self.module else ()), self.script, *self.arguments)

    def rank_command(self, python: str) -> tuple[str, ...]:
        """Return the command line of one rank: run by `python` unless it is a program."""
        return self.command if self.program else (python, "-u", *self.command)
