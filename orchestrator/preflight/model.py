"""Checks: what they measure, the context they judge, their findings and remedies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from inspect import cleandoc
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrator.errors import OrchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.plan import Facts, Job, NodePlan, Plan
from orchestrator.plan.devices import count_gpus
from orchestrator.plan.launchers import registry
from orchestrator.plan.launchers.base import Launcher
from orchestrator.preflight.level import Level as Level
from orchestrator.remote.fleet import Fleet

T = TypeVar("T")


class Status(StrEnum):
    """The result of a check, from the least to the most severe.

    `skip`: it does not apply here. `incomplete`: it could not be made, which is never a pass.
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
    """The groups of checks in the order of the report, with their titles."""

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
    """How to fix it: a sentence for a person, and the lines to paste, on these `nodes`.

    `commands` are complete shell lines, to be run as root, or unless `as_root`, as the login.
    """

    text: str
    commands: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    as_root: bool = True


@dataclass(frozen=True)
class Finding:
    """What one check reports of some nodes; `message` continues a sentence that starts with their names.

    `data` is what was measured, as JSON values.
    """

    status: Status
    nodes: tuple[str, ...]
    message: str
    remedy: Remedy | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def remedy_nodes(self) -> tuple[str, ...]:
        """The nodes that the remedy is for: commands without nodes are for those of the finding."""
        if self.remedy is None:
            return ()
        return self.remedy.nodes or (self.nodes if self.remedy.commands else ())


@dataclass(frozen=True)
class NoAnswer:
    """Why something could not be measured."""

    reason: str


_NOT_ASKED = NoAnswer("it was not asked")


class Unmeasured(Exception):
    """The reason why something that a verdict needs was not measured; the check is incomplete."""


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One measurement that each node makes by itself, by its name in `node/check.py`.

    `parse` makes a typed value of the answer (`answers.reader`), and raises ValueError, KeyError, TypeError
    or AttributeError if it is invalid; `arguments` are what the node's probe is called with.
    """

    name: str
    parse: Callable[[Any], T]
    arguments: Callable[[NodeContext], Mapping[str, Any]] = lambda node: {}


@dataclass(frozen=True)
class Script:
    """The script as it can be read here; `folder` is what is sent to the nodes (None: nothing)."""

    path: Path
    text: str
    folder: Path | None

    @classmethod
    def read(cls, path: Path, folder: Path | None) -> Script:
        """Read the script at `path`. Raises OSError."""
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

    @property
    def gpus(self) -> int:
        """The number of GPUs that the job may use on this node."""
        return count_gpus(self.host, self.facts, self.context.job)

    def answer(self, probe: Probe[T]) -> T:
        """Return what `probe` found on this node. Raises Unmeasured."""
        found = self.context.answers.get(probe.name, {})
        answer: T | NoAnswer = found.get(self.name, _NOT_ASKED)
        return _require(answer)


@dataclass(frozen=True)
class Context:
    """The nodes of a plan and what was measured on them.

    `unreachable` are nodes that are not in the plan because no login works there. `trouble` has, by check
    id, why a step of the planning failed; the plan is then the best that could be made. `sends` is whether
    the project's files are still to be sent to the nodes. `answers` has what each probe found on each node,
    `measured` what each measurement found, by its type.
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
        """Why there is no script to check, if there is none."""
        return "the job is a program, not Python" if self.job.program else "no script was given"

    @cached_property
    def on_one_machine(self) -> bool:
        """Whether all nodes are one machine, without a network between them."""
        return len({facts.identity for facts in self.facts}) == 1

    @cached_property
    def nodes(self) -> tuple[NodeContext, ...]:
        """The nodes of the plan, main first."""
        return tuple(
            NodeContext(node.host, facts, node, self)
            for node, facts in zip(self.plan.nodes, self.facts, strict=True)
        )

    def of(self, probe: Probe[T]) -> dict[str, T | NoAnswer]:
        """Return what `probe` found, by node, in node order."""
        found = self.answers.get(probe.name, {})
        return {name: found.get(name, _NOT_ASKED) for name in self.names}

    def answers_to(self, probe: Probe[T]) -> dict[str, T]:
        """Return what `probe` found, by node, without the nodes that did not answer."""
        found = self.of(probe).items()
        return {name: each for name, each in found if not isinstance(each, NoAnswer)}

    def none_has(self, probe: Probe[T], has: Callable[[T], object]) -> bool:
        """Return whether `probe` was answered by all nodes, and no answer `has` it."""
        found = self.of(probe).values()
        return not any(isinstance(each, NoAnswer) or has(each) for each in found)

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
"""Called with the name of each node as a measurement finishes there, and whether it succeeded."""


@dataclass(frozen=True)
class Measurement(Generic[T]):
    """A measurement that takes several nodes; it limits its own time.

    Unless it is `independent` it may use what the probes and earlier measurements found. A LaunchError
    that it raises makes the checks that need it incomplete.
    """

    title: str
    kind: type[T]
    measure: Callable[[Fleet, Context, Advance], Awaitable[T]]
    independent: bool = False


@dataclass(frozen=True)
class Check:
    """One check: what it needs measured, and `verdict`, a pure function of what was measured.

    `meaning` is one line, what holds if it passes; `page` is its entry in docs/preflight.md: what is
    measured, when it warns or fails, how to fix it. `verdict` may raise Unmeasured, as `NodeContext.answer`
    and `Context.require` do.
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
        """The name of its entry point if another package adds it: the id."""
        return self.id


def check(
    id_: str,
    group: Group,
    level: Level = Level.FULL,
    *,
    probes: tuple[Probe[Any], ...] = (),
    measurements: tuple[Measurement[Any], ...] = (),
) -> Callable[[Callable[[Context], Sequence[Finding]]], Check]:
    """Make a check of its verdict: the first line of the docstring is the meaning, the rest the page."""

    def make(verdict: Callable[[Context], Sequence[Finding]]) -> Check:
        paragraphs = cleandoc(verdict.__doc__ or "").split("\n\n")
        meaning, *page = (
            text if text.startswith("|") else " ".join(text.split()) for text in paragraphs
        )  # a table keeps its lines
        page_text = "\n\n".join(page)
        return Check(
            id_, group, level, meaning.rstrip("."), page_text, verdict, probes, measurements
        )

    return make
