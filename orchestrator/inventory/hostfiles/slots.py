"""The hosts of a list that may name one several times, and the slots of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.inventory import values
from orchestrator.inventory.devices import MAX_DEVICES
from orchestrator.inventory.model import Host
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.ranges import MAX_HOSTS, HostSpec
from orchestrator.util.text import quoted


@dataclass
class Slots:
    """A host, where it was first named, and its slots so far; `given` if the list says how many."""

    name: str
    line: int
    column: int
    user: str | None
    port: int | None
    is_address: bool
    count: int = 0
    given: bool = False

    def host(self, name: str) -> Host:
        """Return the host under `name`, with a rank for each slot; `auto` if they were not given."""
        return Host(
            name=name,
            address=self.name,
            user=self.user,
            port=self.port,
            devices=self.count if self.given else "auto",
        )


class SlotList:
    """Collects hosts in the order in which they are first named. Faults are added to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._found: dict[str, Slots] = {}

    def __iter__(self) -> Iterator[Slots]:
        return iter(self._found.values())

    def find(
        self,
        line: int,
        column: int,
        spec: HostSpec,
        user: str | None = None,
        port: str | None = None,
    ) -> Slots | None:
        """Return the slots of the host in `spec`, whose port is ignored; None if it is not a host.

        `user` and `port` are those that stand elsewhere. Raises TooMany.
        """
        checks: tuple[tuple[Callable[[object], object], str | None], ...] = (
            (values.address if spec.is_address else _name, spec.host),
            (values.user, user or spec.user),
            (values.port, port),
        )
        for check, value in checks:
            try:
                if value is not None:
                    check(value)
            except ValueError as error:
                self._problems.add(line, column, "", f"{error}; found {quoted(value or '')}")
                return None
        name, login, number = spec.host, user or spec.user, None if port is None else int(port)
        known = self._found.get(name.casefold())
        if known is None:
            if len(self._found) == MAX_HOSTS:
                self._problems.add(line, column, "", f"more than {MAX_HOSTS:,} hosts")
                raise TooMany
            fresh = Slots(name, line, column, login, number, spec.is_address)
            return self._found.setdefault(name.casefold(), fresh)
        fault = None
        if known.name != name:
            fault = f"{name!r} and {known.name!r} on line {known.line} differ only in case"
        elif login not in (None, known.user):
            fault = f"{name!r} has another user than on line {known.line}"
        elif number not in (None, known.port):
            fault = f"{name!r} has another port than on line {known.line}"
        if fault is not None:
            self._problems.add(line, column, "", fault)
            return None
        return known

    def remove(self, spec: HostSpec) -> None:
        """Forget the host in `spec`, if it has been named."""
        self._found.pop(spec.host.casefold(), None)

    def hosts(self) -> tuple[Host, ...]:
        """Return the hosts; complete only if no problem was added.

        An IPv6 address cannot be a name: such a host is called node0, node1 ... by its position.
        """
        for each in self._found.values():
            self._check(each)
        if self._problems:
            return ()
        taken = set(self._found)
        names = []
        for position, each in enumerate(self._found.values()):
            name = each.name
            while each.is_address and (name == each.name or name in taken):
                name, position = f"node{position}", position + 1
            taken.add(name.casefold())
            names.append(name)
        return tuple(
            each.host(name) for each, name in zip(self._found.values(), names, strict=True)
        )

    def _check(self, each: Slots) -> None:
        """Report a number of slots that no host can have, and a host that is named in two ways."""
        if each.given and not 1 <= each.count <= MAX_DEVICES:
            message = f"expected 1 to {MAX_DEVICES} slots; {each.name} has {each.count:,}"
            self._problems.add(each.line, each.column, "", message)
        short = each.name.partition(".")[0].casefold()
        other = self._found.get(short)
        if other is not None and other is not each:
            message = (
                f"{each.name!r} and {other.name!r} on line {other.line} may be the same host; "
                "write its name the same way each time"
            )
            self._problems.add(each.line, each.column, "", message)


def _name(value: object) -> str:
    """A name that is also an address: no incomplete IP address."""
    return values.address(values.name(value))
