"""What a failure looks like in a log, why it comes about, and what to do: one row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a signature says of the run, in the order in which a person should hear of it."""

    ROOT = 0
    """It made the run fail."""
    SYMPTOM = 1
    """Something failed here, but why is told elsewhere; the verdict only if nothing better is found."""
    CASCADE = 2
    """Another rank failed before."""
    HINT = 3
    """The run may go on, but not as wished."""
    NOISE = 4
    """Harmless, though it looks like an error."""


@dataclass(frozen=True)
class Signature:
    """A row of the table.

    `patterns` are regular expressions, each searched for in one line, without the launcher's prefix,
    colours, and what a carriage return wrote over. Function names, source files and line numbers are
    left out of them: they differ from version to version. `meaning`, `cause` and `fix` may use the
    named groups that every pattern of the row has: `{peer}`. `after`: what a cascade or symptom is
    usually a consequence of. `check`: the preflight check that would have told before the launch.
    `is_survivable`: programs print this, too, of what they can do without; on a line of its own it counts
    less than the exception or the signal that ended the rank. `file` is where a site's own comes from;
    orch's have none.
    """

    id: str
    meaning: str
    patterns: tuple[str, ...]
    cause: str
    fix: str
    kind: Kind = Kind.ROOT
    after: str | None = None
    check: str | None = None
    is_survivable: bool = False
    file: str | None = None
