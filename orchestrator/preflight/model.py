"""What a check is, what it finds, and what it remedies with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.preflight.level import Level as Level

if TYPE_CHECKING:
    from orchestrator.preflight.scene import Scene, Stage, Subject

T = TypeVar("T")


class Status(StrEnum):
    """How a check came out, from what says least to the worst.

    `skip` does not apply here; `incomplete` could not be run, and is never a pass.
    """

    SKIP = "skip"
    PASS = "pass"
    WARN = "warn"
    INCOMPLETE = "incomplete"
    FAIL = "fail"

    @property
    def badness(self) -> int:
        return list(Status).index(self)


class Group(Enum):
    """The groups of checks, in the order of the report; the value is the title."""

    HOST = "SSH and host"
    SOFTWARE = "Software"
    REACHABILITY = "Reachability"
    INTERFACE = "Interface and MTU"
    INFINIBAND = "InfiniBand, RDMA, EFA"
    GPU = "GPU"
    COLLECTIVE = "Collectives"
    LIMITS = "Storage, limits, clock"


@dataclass(frozen=True)
class Remedy:
    """What mends it: a sentence for a person, and the lines to paste, on these `nodes`.

    `commands` are whole shell lines that work as they are when run as root, or, without `as_root`, by
    whoever logs in.
    """

    text: str
    commands: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    as_root: bool = True


@dataclass(frozen=True)
class Finding:
    """What one check says of some nodes; `message` reads on after their names.

    Findings that are alike are one, with all their nodes. `data` is what was measured, as JSON values.
    """

    status: Status
    nodes: tuple[str, ...]
    message: str
    remedy: Remedy | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoAnswer:
    """Why something could not be measured."""

    reason: str


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One measurement that each node makes by itself, by its name in `node/check.py`.

    `parse` makes a typed value of the answer, raising ValueError, KeyError, TypeError, or AttributeError
    where it makes no sense; `arguments` says what the node is asked with.
    """

    name: str
    parse: Callable[[Any], T]
    arguments: Callable[[Subject], Mapping[str, Any]] = lambda subject: {}


@dataclass(frozen=True)
class Check:
    """One check: what it measures, and the pure verdict on what was measured.

    `meaning` is one line; `page` is its entry in docs/preflight.md: what is measured, when it warns or
    fails, what mends it. `stages` are measurements that take several nodes.
    """

    id: str
    group: Group
    level: Level
    meaning: str
    page: str
    verdict: Callable[[Scene], Sequence[Finding]]
    probes: tuple[Probe[Any], ...] = ()
    stages: tuple[Stage[Any], ...] = ()
