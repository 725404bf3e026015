"""Sources of inventories, and the base class of the readers of their formats."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.problems import Problems
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped, nearest

# Ten thousand hosts with a dozen lines each. A larger file is something else, and would take minutes.
_MAX_BYTES = 2_000_000
HEAD_BYTES = 65_536

Launchers = Callable[[], Collection[str]] | None
"""Returns the names that a launcher may have; None: any name is valid."""


class Source:
    """The argument of `-i`: a file, a pipe, or something that only its reader understands.

    `given` is the text without the name of a reader; `path` is the file, folder or pipe with that name, or
    None if there is none. It is read once, when first needed, so it may be a pipe. `is_named` tells whether
    the user named the reader. `str()` is the argument as typed, for messages.

    A reader adds to `notes` what the user should know of an inventory that can be used.
    """

    def __init__(self, given: str, typed: str | None = None, launchers: Launchers = None) -> None:
        self.given = given
        self.launchers = launchers
        self.is_named = typed is not None
        self.notes: list[str] = []
        self._typed = given if typed is None else typed
        self.path = Path(given) if os.path.exists(given) else None  # noqa: PTH110 - takes any text

    def __str__(self) -> str:
        return escaped(self._typed)

    @property
    def head(self) -> bytes:
        """The first 64 KiB, to recognise a format by; empty if it cannot be read."""
        return b"" if isinstance(self._read, InventoryError) else self._read[:HEAD_BYTES]

    @property
    def content(self) -> bytes:
        """All of it. Raises InventoryError if it cannot be read or is over 2,000,000 bytes."""
        if isinstance(self._read, InventoryError):
            raise self._read
        return self._read

    @property
    def text(self) -> str:
        """All of it as text. Raises InventoryError as `content` does, and if it is not UTF-8."""
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
            return read_bounded(self.given, _MAX_BYTES)
        except FileNotFoundError:
            if self.is_named and not self.given:
                return InventoryError(f"{self}: expected a file after the colon")
            return InventoryError(f"{self}: there is no such inventory", remedy=self._suggestion)
        except Unreadable as error:
            return InventoryError(
                f"{self}: the inventory cannot be read: {error}",
                remedy="name a file, or a pipe that something writes an inventory into",
            )

    @property
    def _suggestion(self) -> str:
        """The remedy if there is no such file: a file with a similar name, or how to make one."""
        path = Path(self.given)
        try:
            files = [file for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
        except OSError:
            files = []
        meant = nearest(path.name, [file.name for file in files])
        if meant is not None:
            return f"did you mean {escaped(str(path.parent / meant))}?"
        if self.is_named:
            return f"name the file: -i {escaped(self._typed.partition(':')[0])}:FILE"
        return "`orch init HOST...` writes one; `--local 2` runs on this machine without one"


def gateway_key_note(key: str) -> str:
    """Return what to say about the private key of a gateway, which no inventory can name."""
    shown = escaped(key)
    return (
        f"the gateway's key is left out: ssh-add {shown}, or IdentityFile for it in ~/.ssh/config"
    )


class Reader(ABC):
    """A format of host lists. A package adds one as an entry point of the group `orch.inventories`."""

    name: str
    """As in `-i NAME:SOURCE`, and the name of the entry point: two or more of a-z, 0-9, _ and -."""

    help: str
    """What it reads, for `read as ...`: `a hostfile of Open MPI`."""

    is_data_only = False
    """Whether reading starts no program and asks nothing but files: then a file of defaults may name it."""

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Tell, from its name and its head, whether `source` is in this format; must be quick."""

    def describe(self, source: Source) -> str:
        """Return what `source` is read as, if that is more than `help` says; may raise InventoryError."""
        return self.help

    def job(self) -> str | None:
        """Return the scheduler's job that orch runs in, `Slurm job 4711`, if this reads its hosts.

        Then `-i NAME:` reads them, and so does a command without -i. None: there is no such job.
        """
        return None

    @abstractmethod
    def read(self, source: Source) -> Inventory:
        """Return the hosts in `source`, in the order of their node ranks.

        Raises InventoryError with everything that is wrong; `Problems` collects faults that have a line.
        """
