"""Base of the readers of jobs whose scheduler lists the nodes in a file or a variable."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.util.text import escaped, printable


class JobReader(Reader):
    """Reads `NAME:`, the job that orch runs in, or `NAME:FILE`, a file as the scheduler writes it."""

    scheduler: str
    """As in `PBS job 12`."""

    id_variable: str
    """Holds the id of the job."""

    host_variables: tuple[str, ...]
    """Hold the hosts, or the name of a file with them; the first that is set is read."""

    def recognises(self, source: Source) -> bool:
        return False  # by its name only

    def job(self) -> str | None:
        number = os.environ.get(self.id_variable)
        if not number or self._variable() is None:
            return None
        return f"{self.scheduler} job {printable(number, 60)}"

    def read(self, source: Source) -> Inventory:
        if source.given:
            hosts = self.hosts_in_file(source)
        elif (variable := self._variable()) is None:
            raise InventoryError(
                f"{source}: orch does not run in a job of {self.scheduler}: "
                f"{self.host_variables[0]} is not set",
                remedy=f"run it there, or name a file: -i {self.name}:FILE",
            )
        else:
            hosts = self.hosts_in(variable)
        return Inventory(hosts=_with_ranks(hosts), source=str(source))

    def _variable(self) -> str | None:
        return next((name for name in self.host_variables if os.environ.get(name)), None)

    def hosts_in(self, variable: str) -> Sequence[Host]:
        """Return the hosts that `variable`, which is set, names: here, it holds the name of a file."""
        source = Source(os.environ[variable])
        if source.path is None:
            raise InventoryError(
                f"{variable} is {escaped(source.given)}: there is no such file on this machine",
                remedy="run orch on the first node of the job, or name the hosts with -i or -H",
            )
        return self.hosts_in_file(source)

    @abstractmethod
    def hosts_in_file(self, source: Source) -> Sequence[Host]:
        """Return the hosts in a file that the scheduler wrote. Raises InventoryError."""


def _with_ranks(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Return the hosts with a rank for each slot; if none has more than one, the node decides."""
    if any(host.devices != 1 for host in hosts):
        return tuple(hosts)
    return tuple(host.model_copy(update={"devices": "auto"}) for host in hosts)
