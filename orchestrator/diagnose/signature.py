"""What a failure looks like in a log, its cause and its fix: one row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a signature means for the run, most important first."""

    ROOT = 0
    """It made the run fail."""
    SYMPTOM = 1
    """Something failed here, but the cause is elsewhere; the verdict only if no root is found."""
    CASCADE = 2
    """A consequence of another rank's failure."""
    HINT = 3
    """The run continues, but not as intended."""
    NOISE = 4
    """Harmless, although it looks like an error."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A row of the table.

    `patterns` are regular expressions, each searched for in one line, without the launcher's prefix,
    colours, and what a carriage return overwrote. They avoid function names, source files and line
    numbers, which differ by version. `meaning`, `cause` and `fix` may use the named groups that every
    pattern of the row has: `{peer}`. `after` is what a cascade or symptom usually follows from. `check` is
    the preflight check that would have reported it before the launch. `is_survivable`: programs also print
    this about optional features, so on a line of its own it counts less than the exception or the signal
    that ended the rank. `is_general`: it only says that something failed; on a line that another
    signature matches it does not count, and others of its kind precede it. `is_inferred`: the text fits
    other causes too, so even an exception that was raised makes the cause no more than likely. `undone_by`
    is a text, as a regular expression, of a later line which says that it succeeded after all. `orch_fix`
    is what a user of orch does, if that differs from `fix`. `file` is the file of a site's signature, None
    for orch's own. `asks` says what on the node may explain it, which orch looks at in a run of its own (a
    file each in `control/looks`): places, limits, memory, ports, locks, gpus, xids, clocks.
    """

    id: str
    meaning: str
    patterns: tuple[str, ...] = ()
    cause: str
    fix: str
    kind: Kind = Kind.ROOT
    after: str | None = None
    check: str | None = None
    is_survivable: bool = False
    is_general: bool = False
    is_inferred: bool = False
    undone_by: str | None = None
    orch_fix: str | None = None
    file: str | None = None
    asks: tuple[str, ...] = ()
