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


@dataclass(frozen=True)
class Job:
    """A script and how to run it.

    `script` is relative to the working folder on the nodes, or absolute. `devices` is the number of
    ranks a node; it and the rest, where None, are left to the inventory. `secrets` names the variables
    of `environment` whose values are never shown. `elastic` leaves it to torchrun to start ranks again,
    with the nodes that are left (None: they are not).
    """

    script: str
    arguments: tuple[str, ...] = ()
    module: bool = False
    launcher: str | None = None
    launcher_arguments: tuple[str, ...] = ()
    elastic: Elastic | None = None
    devices: int | Literal["auto"] | None = None
    main_address: str | None = None
    main_port: int | Literal["auto"] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    workdir_name: str = "job"

    @property
    def command(self) -> tuple[str, ...]:
        """The words after the interpreter: script or module, and its arguments."""
        return (*(("-m",) if self.module else ()), self.script, *self.arguments)
