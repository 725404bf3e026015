"""What a check is, what it looks at, what it finds, and how to fix it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrator.errors import OrchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.plan import Facts, Job, NodePlan, Plan
from orchestrator.plan.launchers import registry
from orchestrator.plan.launchers.base import Launcher
from orchestrator.preflight.level import Level as Level
from orchestrator.remote.fleet import Fleet

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


class Unmeasured(Exception):
    """What a verdict needs was not measured: the check is incomplete, for this reason."""


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One measurement that each node makes by itself, by its name in `node/check.py`.

    `parse` makes a typed value of the answer, raising ValueError, KeyError, TypeError, or AttributeError
    where it makes no sense; `arguments` says what the node is asked with.
    """

    name: str
    parse: Callable[[Any], T]
    arguments: Callable[[NodeContext], Mapping[str, Any]] = lambda node: {}


@dataclass(frozen=True)
class Script:
    """The script as it can be read here; `folder` is what goes to the nodes (None: nothing does)."""

    path: Path
    text: str
    folder: Path | None

    @classmethod
    def read(cls, path: Path, folder: Path | None) -> Script:
        """Read the script at `path`. Raises OSError where that cannot be."""
        return cls(path, path.read_text(encoding="utf-8-sig", errors="replace"), folder)


@dataclass(frozen=True)
class NodeContext:
    """One node of the plan, with all that is known of it."""

    host: Host
    facts: Facts
    plan: NodePlan
    context: Context

    @property
    def name(self) -> str:
        return self.host.name

    def answer(self, probe: Probe[T]) -> T:
        """Return what `probe` found on this node. Raises Unmeasured."""
        return _require(self.context.of(probe)[self.name])


@dataclass(frozen=True)
class Context:
    """The nodes of a plan and what was measured on them.

    `unreachable` are nodes that are not in the plan because nobody can log in there. `trouble` has, by
    check id, why a step of the planning went wrong; the plan is then the best that could be made. `sends`
    says whether the project's files are still to go to the nodes.
    `answers` has what each probe found on each node; `measured` what measurements found, by its type.
    """

    plan: Plan
    job: Job
    facts: tuple[Facts, ...]
    level: Level
    script: Script | None = None
    sends: bool = True
    unreachable: tuple[Unreachable, ...] = ()
    trouble: Mapping[str, OrchError] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: Mapping[type[Any], Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The nodes of the plan, main first."""
        return tuple(node.name for node in self.plan.nodes)

    @cached_property
    def launcher(self) -> Launcher:
        """The launcher of the plan."""
        return registry.find(self.plan.launcher)

    @property
    def why_no_script(self) -> str:
        """Why there is no script to look into, where there is none."""
        return "the job is a program, not Python" if self.job.program else "no script was given"

    @cached_property
    def on_one_machine(self) -> bool:
        """Whether all nodes are one machine, so that there is no network between them."""
        return len({facts.identity for facts in self.facts}) == 1

    @cached_property
    def nodes(self) -> tuple[NodeContext, ...]:
        """The nodes of the plan, main first, with all that is known of each."""
        return tuple(
            NodeContext(node.host, facts, node, self)
            for node, facts in zip(self.plan.nodes, self.facts, strict=True)
        )

    def of(self, probe: Probe[T]) -> dict[str, T | NoAnswer]:
        """Return what `probe` found, by node, in node order."""
        found = self.answers.get(probe.name, {})
        return {name: found.get(name, NoAnswer("it was not asked")) for name in self.names}

    def answers_to(self, probe: Probe[T]) -> dict[str, T]:
        """Return what `probe` found, by node, without the nodes that did not answer."""
        found = self.of(probe).items()
        return {name: each for name, each in found if not isinstance(each, NoAnswer)}

    def find(self, kind: type[T]) -> T | NoAnswer:
        """Return what the measurement found whose result is a `kind`."""
        found: T | NoAnswer = self.measured.get(kind, NoAnswer("it was not measured"))
        return found

    def require(self, kind: type[T]) -> T:
        """Return what the measurement found whose result is a `kind`. Raises Unmeasured."""
        return _require(self.find(kind))


def _require(found: T | NoAnswer) -> T:
    if isinstance(found, NoAnswer):
        raise Unmeasured(found.reason)
    return found


Advance = Callable[[str, bool], None]
"""Told the node's name, and whether it went well, as a measurement is done with each node."""


@dataclass(frozen=True)
class Measurement(Generic[T]):
    """A measurement that takes several nodes; it ends within a bound of its own.

    Unless it is `independent` it may use what the probes and earlier measurements found. A LaunchError
    that it raises makes the checks that need it incomplete.
    """

    title: str
    kind: type[T]
    measure: Callable[[Fleet, Context, Advance], Awaitable[T]]
    independent: bool = False


@dataclass(frozen=True)
class Check:
    """One check: what it measures, and the pure verdict on what was measured.

    `meaning` is one line; `page` is its entry in docs/preflight.md: what is measured, when it warns or
    fails, how to fix it. `measurements` are those that take several nodes. `verdict` may raise Unmeasured,
    as `NodeContext.answer` and `Context.require` do.
    """

    id: str
    group: Group
    level: Level
    meaning: str
    page: str
    verdict: Callable[[Context], Sequence[Finding]]
    probes: tuple[Probe[Any], ...] = ()
    measurements: tuple[Measurement[Any], ...] = ()

    @property
    def name(self) -> str:
        """What its entry point is called, where another package adds it: the id."""
        return self.id
