"""Where Slurm's programs run: on this machine, or on one that `login` reaches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.remote.base import Node
from orchestrator.remote.process import ProcessNode
from orchestrator.slurm.commands import Commands, LocalCommands
from orchestrator.slurm.environment import step_environment

if TYPE_CHECKING:
    from orchestrator.errors import Unreachable
    from orchestrator.inventory import Host


class Place(Commands, Protocol):
    """The machine on which Slurm's programs run, srun included."""

    environment: Mapping[str, str]
    """What is known there of a surrounding job."""

    async def node(self, host: Host, argv: Sequence[str]) -> Node | Unreachable:
        """Return the node whose scripts `argv`, with the script as its last argument, runs there.

        Or why that machine cannot be reached.
        """


class ThisMachine(LocalCommands):
    """Slurm's programs run here."""

    def __init__(self) -> None:
        self.environment: Mapping[str, str] = os.environ

    async def node(self, host: Host, argv: Sequence[str]) -> Node:
        environment = step_environment(os.environ)
        return ProcessNode(host, lambda script: (*argv, script), environment)
