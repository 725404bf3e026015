"""A look: what to measure on the node of a failed rank, and what the result means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.diagnose import Hit
from orchestrator.plan import NodePlan
from orchestrator.preflight.model import NoAnswer, Probe
from orchestrator.remote.reports import RankReport

T = TypeVar("T")

_NOT_ASKED = NoAnswer("it was not asked")


@dataclass(frozen=True)
class Subject:
    """A rank that failed, and what its output shows.

    `lines` are the last lines of its output, `ranks` its node's ranks by process id, and `skews` by how
    many seconds the clock of each node is ahead of the controller's.
    """

    run: str
    node: NodePlan
    main_port: int
    rank: RankReport
    hit: Hit
    lines: tuple[str, ...] = ()
    ranks: Mapping[int, int] = field(default_factory=dict)
    skews: Mapping[str, float] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the rank printed about the failure, the most telling first."""
        error = self.hit.error
        texts = (self.hit.first.text, error.summary if error else "", *reversed(self.lines))
        return tuple(dict.fromkeys(text for text in texts if text))

    @property
    def record(self) -> dict[str, Any]:
        """The arguments of a probe that reads the record of the rank."""
        return {
            "run": self.run,
            "node": self.node.name,
            "attempt": self.rank.attempt,
            "rank": self.rank.rank,
        }


@dataclass(frozen=True)
class Known:
    """What the node has answered."""

    evidence: NodeEvidence

    def of(self, probe: Probe[T]) -> T | NoAnswer:
        """Return the answer of a probe, or why there is none."""
        answer: T | NoAnswer = self.evidence.answers.get(probe.name, _NOT_ASKED)
        return answer


class Cause(NamedTuple):
    """What explains a failure, and what to do. `signature` is the row of the table that the failure then
    belongs to, if that is another one; `checkable` is whether a preflight check could have found it.
    """

    text: str
    fix: str
    signature: str = ""
    checkable: bool = True


@dataclass(frozen=True)
class Finding:
    """The result of a look: each place that was looked at, with what was seen there, and the cause if that
    shows it.
    """

    looked: tuple[str, ...]
    cause: Cause | None = None


@dataclass(frozen=True)
class Look:
    """A thing to look at. `asks` returns the arguments of each probe to run on the node."""

    name: str
    probes: tuple[Probe[Any], ...]
    asks: Callable[[Subject], Mapping[str, Mapping[str, Any]]]
    judge: Callable[[Subject, Known], Finding]


def unanswered(what: str, answer: NoAnswer) -> Finding:
    """Return the finding of a look without an answer: nothing is known."""
    return Finding((f"{what}: could not be looked at ({answer.reason})",))
