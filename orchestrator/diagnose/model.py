"""The values that a diagnosis is made from, and those that it consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.util.frontend import Shown


@dataclass(frozen=True)
class Source:
    """Where lines come from: the file of a rank, the output of a launcher, or any log file.

    `name` is shown to people. `rank` (global) and `node` are those of all lines, if known; the prefix of
    a line takes precedence. `clock` returns the time (seconds since the epoch, one clock for all sources)
    at which the byte at an offset was written, if that was recorded.
    """

    name: str
    rank: int | None = None
    node: str | None = None
    clock: Callable[[int], float | None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Exit:
    """How a rank ended. `code` is negative for a signal, as in subprocess.

    `rank` is global, `pid` that of the node, `time` in seconds since the epoch. `first`: this rank failed
    first, of all ranks if the exit was given, of its own ranks if a launcher reported it.
    """

    rank: int | None
    code: int
    node: str | None = None
    pid: int | None = None
    time: float | None = None
    first: bool = False


@dataclass(frozen=True)
class Evidence:
    """What is known besides the logs.

    `exits` are how ranks ended by themselves, without those that were stopped at the end of the run.
    `kernel_logs` has the lines of each node's kernel log since the start of the run, without nodes where it
    could not be read. `oom_kills` is the growth of `oom_kill` in memory.events, by node. `error_files` has
    the contents of torch's error files (TORCHELASTIC_ERROR_FILE).
    """

    exits: tuple[Exit, ...] = ()
    kernel_logs: Mapping[str, Iterable[bytes]] = field(default_factory=dict)
    oom_kills: Mapping[str, int] = field(default_factory=dict)
    error_files: tuple[tuple[Source, bytes], ...] = ()


@dataclass(frozen=True)
class Place:
    """Where something was found: line (from 1; 0 if there is none), and rank, node and time if known."""

    source: str
    line: int = 0
    rank: int | None = None
    node: str | None = None
    time: float | None = None


@dataclass(frozen=True)
class PythonError:
    """An exception that ended a program.

    `file`, `line` and `function` are those of the innermost frame in the user's own code, which is not in
    the standard library or an installed package; None if there is no such frame. `because` is the exception
    that it was raised from, or that was being handled. `library` is the file of the innermost frame, below
    `site-packages/`, if it is in an installed package, and `call` what the line of the innermost frame
    outside of the standard library calls or asserts.
    """

    type: str
    message: str
    file: str | None = None
    line: int | None = None
    function: str | None = None
    because: PythonError | None = None
    library: str | None = None
    call: str | None = None

    @property
    def summary(self) -> str:
        """The last line of the traceback."""
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Match:
    """One place where a signature was found, with the text (at most 400 characters, printable).

    `is_logged`: it is an exception that the program caught and logged.
    """

    place: Place
    text: str
    details: Mapping[str, str] = field(default_factory=dict)
    error: PythonError | None = None
    is_logged: bool = False


class Certainty(StrEnum):
    """How sure it is that a hit is the cause."""

    CERTAIN = "certain"
    """A process raised it, or the kernel or an exit status shows it."""
    LIKELY = "likely"
    """A line reports it, and nothing shows that the program continued."""
    SYMPTOM = "symptom"
    """It failed here, for a reason that these logs do not show."""


@dataclass(frozen=True)
class Hit:
    """A signature that was found.

    `matches` has the first match of each rank, in order; `count` is the number of all matches. `meaning`,
    `cause`, `fix` and `orch_fix` are those of the signature, with the groups of the first match filled in.
    `recovered`: the program continued after the last one.
    """

    signature: Signature
    matches: tuple[Match, ...]
    count: int
    meaning: str
    cause: str
    fix: str
    orch_fix: str | None = None
    recovered: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of the signature."""
        return self.signature.kind

    @property
    def first(self) -> Match:
        """The first match."""
        return self.matches[0]

    @property
    def certainty(self) -> Certainty:
        """How sure it is that this is the cause."""
        if self.kind is not Kind.ROOT or self.recovered:
            return Certainty.SYMPTOM
        if self.signature.is_inferred:
            return Certainty.LIKELY
        is_raised = self.error is not None and not self.is_logged
        is_seen = any(
            match.place.line == 0 for match in self.matches
        )  # not in a line: an exit status
        return Certainty.CERTAIN if is_raised or is_seen else Certainty.LIKELY

    @property
    def error(self) -> PythonError | None:
        """The exception of the first rank that had one."""
        return next((match.error for match in self.matches if match.error), None)

    @property
    def is_logged(self) -> bool:
        """Whether it is an exception that all ranks caught and logged."""
        return all(match.is_logged for match in self.matches)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that had it, ascending."""
        return tuple(sorted({m.place.rank for m in self.matches if m.place.rank is not None}))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that had it, if known."""
        return tuple(dict.fromkeys(m.place.node for m in self.matches if m.place.node is not None))

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources that had it."""
        return tuple(dict.fromkeys(m.place.source for m in self.matches))


@dataclass(frozen=True)
class Diagnosis(Shown):
    """What was found: roots first, then symptoms, cascades, hints and noise; each kind in order of time.

    Within a kind, what the rank had that is known to have failed first comes first. What the program
    recovered from comes after cascades. `exits` are those given and those that launchers reported. `leads`
    are the last lines that look like errors, if there is no verdict.
    """

    hits: tuple[Hit, ...]
    exits: tuple[Exit, ...] = ()
    leads: tuple[Match, ...] = ()

    @property
    def verdict(self) -> Hit | None:
        """What most likely made the run fail; None if nothing found explains it.

        A consequence explains nothing: what it followed from is not in these logs.
        """
        best = self.best
        return best if best and best.kind < Kind.CASCADE else None

    @property
    def best(self) -> Hit | None:
        """The verdict, or if there is none the first consequence; None if nothing failed."""
        first = next(iter(self.hits), None)
        return first if first and first.kind <= Kind.CASCADE and not first.recovered else None
