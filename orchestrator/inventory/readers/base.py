"""What a list of hosts is read from, and what reads it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.problems import Problems, nearest, printable
from orchestrator.util.bounded_read import Unreadable, read_bounded

# Ten thousand hosts with a dozen lines each. Larger is some other file, and would take minutes.
_MOST_BYTES = 2_000_000
_HEAD_BYTES = 65_536


class Source:
    """What `-i` was given: a file, a pipe, or what only its reader understands.

    `given` is the text without the name of a reader, `path` the file, folder or pipe of that name, or None
    where there is none. It is read once, and only when somebody asks: a pipe serves as a file does.
    `str()` is how messages show it: as it was typed.
    """

    def __init__(
        self,
        given: str,
        typed: str | None = None,
        launchers: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self.given = given
        self._typed = given if typed is None else typed
        self.launchers = launchers
        """Gives the names that a launcher may have; None: any."""
        self.path = Path(given) if os.path.exists(given) else None  # noqa: PTH110 - takes any text

    def __str__(self) -> str:
        return printable(self._typed)

    @property
    def head(self) -> bytes:
        """The first 64 KiB, to recognise a format by; nothing where it cannot be read."""
        return b"" if isinstance(self._read, InventoryError) else self._read[:_HEAD_BYTES]

    @property
    def content(self) -> bytes:
        """All of it. Raises InventoryError when it cannot be read, or has over 2,000,000 bytes."""
        if isinstance(self._read, InventoryError):
            raise self._read
        return self._read

    @property
    def text(self) -> str:
        """All of it as text. Raises InventoryError as `content` does, and where it is not UTF-8."""
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            before = self.content[: error.start].split(b"\n")
            problems = Problems(self.given)
            column = len(before[-1].decode()) + 1
            problems.add(len(before), column, "", "expected text in UTF-8; this is something else")
            raise problems.error() from None

    @cached_property
    def _read(self) -> bytes | InventoryError:
        try:
            return read_bounded(self.given, _MOST_BYTES)
        except FileNotFoundError:
            return InventoryError(f"{self}: there is no such inventory", remedy=self._instead)
        except Unreadable as error:
            return InventoryError(
                f"{self}: the inventory cannot be read: {error}",
                remedy="name a file, or a pipe that something writes an inventory into",
            )

    @property
    def _instead(self) -> str:
        """What to do where there is no such file: the file that was meant, if there is one."""
        path = Path(self.given)
        try:
            there = [
                file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")
            ]
        except OSError:
            there = []
        meant = nearest(path.name, there)
        if meant is not None:
            return f"did you mean {printable(str(path.parent / meant))}?"
        return "`orch init HOST...` writes one; `--local 2` does without, on this machine alone"


class Reader(ABC):
    """A format of host lists. A package adds one as an entry point of the group `orch.inventories`."""

    name: str
    """As in `-i NAME:SOURCE`, and the name of the entry point: two or more of a-z, 0-9, _ and -."""

    help: str
    """What it reads, for `read as ...`: `a hostfile of Open MPI`."""

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Tell whether `source` is in this format, from its name and its head; must be quick."""

    @abstractmethod
    def read(self, source: Source) -> Inventory:
        """Return the hosts in `source`, in the order of their node ranks.

        Raises InventoryError with all that is wrong; `Problems` gathers faults that have a line.
        """
