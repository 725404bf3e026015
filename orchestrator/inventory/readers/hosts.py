"""Hosts on the command line: `-H h1:8,h2:4`, as for horovodrun and mpirun.

The number is that of ranks, not a port; without one, or with `*` or `auto`, it is one for each GPU. A host
that is named again has as many ranks more, as for mpirun. Names may be ranges of orch's.
"""

from __future__ import annotations

from orchestrator.errors import InventoryError
from orchestrator.inventory.devices import MAX_DEVICES
from orchestrator.inventory.hostfiles.slots import SlotList
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.ranges import HostSpec, expand, split_expression
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.inventory.values import whole_number
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import escaped, quoted

_OPTION = "-H"
_AUTO = ("*", "auto", None)


class HostsReader(Reader):
    """Reads `hosts:h1:8,h2:4`, which `-H h1:8,h2:4` stands for."""

    name = "hosts"
    help = "hosts on the command line"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        return False  # by its name only

    def describe(self, source: Source) -> str:
        return ""

    def read(self, source: Source) -> Inventory:
        if source.path is not None and source.path.is_file():  # DeepSpeed's -H names a file
            raise InventoryError(
                f"{_OPTION} {escaped(source.given)}: this is a file, not a host",
                remedy=f"{line_to_paste(['-i', source.given])} reads the hosts in it; for a host of that "
                f"name: {line_to_paste([_OPTION, f'{source.given}:auto'])}",
            )
        problems = Problems(_OPTION)
        hosts = SlotList(problems)
        try:
            for part in split_expression(source.given):
                _add(part, source.given.find(part) + 1, hosts, problems)
            found = hosts.hosts()
        except TooMany:
            raise problems.error() from None
        if problems:
            raise problems.error()
        if not found:
            raise InventoryError(f"{_OPTION}: expected hosts, as in node0:8,node1:4")
        return Inventory(hosts=found, source=f"{_OPTION} {source.given}")


READER = HostsReader()


def _add(part: str, column: int, hosts: SlotList, problems: Problems) -> None:
    """Add the hosts of `part`, at `column` of the option."""
    try:
        spec = HostSpec.parse(part)
        ranks = None if spec.port in _AUTO else _ranks(spec.port)
        names = [spec.host] if spec.is_address else expand(spec.host) or [""]
    except ValueError as error:
        problems.add(1, column, "", f"{error}; found {quoted(part)}")
        return
    for name in names:
        found = hosts.find(1, column, HostSpec(name, spec.user, None, spec.is_address))
        if found is not None:
            found.given = found.given or found.count > 0 or ranks is not None
            found.count += ranks or 1


def _ranks(text: str | None) -> int:
    number = whole_number(text)
    if number is None or not 1 <= number <= MAX_DEVICES:
        raise ValueError(
            f"expected a number of ranks from 1 to {MAX_DEVICES} after the colon (a port goes into "
            "hosts.yaml)"
        )
    return number
