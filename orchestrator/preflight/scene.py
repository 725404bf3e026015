"""What a verdict looks at: the nodes, the plan for them, and everything that was measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrator.errors import OrchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.plan import Facts, Job, NodePlan, Plan
from orchestrator.preflight.model import Level, NoAnswer, Probe
from orchestrator.remote.fleet import Fleet

T = TypeVar("T")


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
class Subject:
    """One node of a scene."""

    host: Host
    facts: Facts
    plan: NodePlan
    scene: Scene

    @property
    def name(self) -> str:
        return self.host.name


@dataclass(frozen=True)
class Scene:
    """The nodes of a plan and what was measured on them.

    `unreachable` are nodes that are not in the plan because nobody can log in there. `trouble` has, by
    check id, why a step of the planning went wrong; the plan is then the best that could be made.
    `answers` has what each probe found on each node; `measured` what stages found, by its type.
    """

    plan: Plan
    job: Job
    facts: tuple[Facts, ...]
    level: Level
    script: Script | None = None
    unreachable: tuple[Unreachable, ...] = ()
    trouble: Mapping[str, OrchError] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: Mapping[type[Any], Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The nodes of the plan, main first."""
        return tuple(node.name for node in self.plan.nodes)

    @cached_property
    def on_one_machine(self) -> bool:
        """Whether all nodes are one machine, so that there is no network between them."""
        return len({facts.identity for facts in self.facts}) == 1

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The nodes of the plan, main first, with all that is known of each."""
        return tuple(
            Subject(node.host, facts, node, self)
            for node, facts in zip(self.plan.nodes, self.facts, strict=True)
        )

    def of(self, probe: Probe[T]) -> dict[str, T | NoAnswer]:
        """Return what `probe` found, by node, in node order."""
        found = self.answers.get(probe.name, {})
        return {name: found.get(name, NoAnswer("it was not asked")) for name in self.names}

    def find(self, kind: type[T]) -> T | NoAnswer:
        """Return what the stage found whose result is a `kind`."""
        found: T | NoAnswer = self.measured.get(kind, NoAnswer("it was not measured"))
        return found


Advance = Callable[[str, bool], None]
"""Told the node's name, and whether it went well, as a stage is done with each node."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """A measurement that takes several nodes; it ends within a bound of its own.

    It may look at what earlier stages and the probes found, unless it is `independent`. What it raises of
    the family of LaunchError makes the checks that need it incomplete.
    """

    title: str
    kind: type[T]
    measure: Callable[[Fleet, Scene, Advance], Awaitable[T]]
    independent: bool = False
