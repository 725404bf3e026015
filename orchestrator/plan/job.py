"""What a person wants to run, on whatever nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_PORT = 29500
"""torchrun's default; taken when it is free on the main node."""


@dataclass(frozen=True)
class Elastic:
    """How far torchrun's own agents go: on with `fewest` to `most` nodes, again up to `restarts` times."""

    fewest: int
    most: int
    restarts: int = 3

    def __str__(self) -> str:
        return f"--elastic {self.fewest}:{self.most}"


@dataclass(frozen=True)
class Job:
    """A script and how to run it.

    `script` is relative to where the ranks start, or absolute: Python code, or with `module` the name of a
    module, or with `program` an executable that is started as it is. `devices` is the number of
    ranks a node; it and the rest, where None, are left to the inventory. `secrets` names the variables
    of `environment` whose values are never shown. `elastic` leaves it to torchrun to start ranks again,
    with the nodes that are left (None: they are not). It belongs to the `project` in this folder here. Its
    working folder on each node is `workdir`, where given, else that of the inventory, else the project's
    own, which is called `workdir_name` unless another project has that name there. The ranks start in
    `folder` of it (empty: in that itself), and `script` is relative to that.
    """

    script: str
    arguments: tuple[str, ...] = ()
    module: bool = False
    program: bool = False
    launcher: str | None = None
    launcher_arguments: tuple[str, ...] = ()
    elastic: Elastic | None = None
    devices: int | Literal["auto"] | None = None
    main_address: str | None = None
    main_port: int | Literal["auto"] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    workdir_name: str = "job"
    folder: str = ""
    project: str = ""
    workdir: str | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The script, module or program, and its arguments; of a program, the whole command line."""
        return (*(("-m",) if self.module else ()), self.script, *self.arguments)

    def started_with(self, python: str) -> tuple[str, ...]:
        """Return the command line of one rank, which `python` runs unless it is a program."""
        return self.command if self.program else (python, "-u", *self.command)
