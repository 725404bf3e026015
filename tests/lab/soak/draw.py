"""What one seed means: a short job, the options it is launched with, and two faults. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

OnTerm = Literal["leave", "save", "ignore", "default"]
"""What a rank does at SIGTERM: exits with 143, exits with 0, works on, or does not catch it."""

Phase = Literal["before", "connect", "running", "end", "exit", "stop"]
"""When a fault's delay starts to count: before the launch, when the first node lets it in, when every rank
has started, when a rank has nearly taken all its steps, when one leaves, when a rank has got SIGTERM.
"""

HALT = float("inf")
"""How long a fault lasts that is undone only after the run."""

TORCHRUN_SHARE = 0.1
"""Torchrun takes twice as long to start as everything else of a draw."""


@dataclass(frozen=True)
class Ending:
    """How a rank ends by itself at `step`: `number` is the exit code or the signal.

    `again` says whether it ends like that in later attempts too.
    """

    how: Literal["exit", "raise", "signal"]
    step: int
    number: int
    again: bool

    @property
    def exit_code(self) -> int:
        """The exit code that a shell would show for it."""
        return 128 + self.number if self.how == "signal" else self.number


@dataclass(frozen=True)
class Job:
    """What the ranks do: `steps` times write about `size` bytes and rest for `pause` seconds.

    `endings` are of those that end otherwise, by rank. `grandchildren`: each rank leaves a process of
    its own session behind.
    """

    nodes: int
    per_node: int
    launcher: Literal["direct", "torchrun"]
    steps: int
    pause: float
    size: int
    on_term: OnTerm
    grandchildren: bool
    endings: Mapping[int, Ending]

    @property
    def names(self) -> list[str]:
        """The names of its nodes."""
        return [f"node{index}" for index in range(self.nodes)]

    @property
    def ranks(self) -> range:
        """All ranks; those of one node follow each other."""
        return range(self.nodes * self.per_node)

    def node_of(self, rank: int) -> str:
        """The node of a rank."""
        return f"node{rank // self.per_node}"


@dataclass(frozen=True)
class Options:
    """The options of the launch; times in seconds."""

    grace: float
    node_timeout: float
    connect_timeout: float
    restarts: int
    detach: bool
    timeout: float | None
    lease: float | None
    keep_going: bool = False

    def words(self) -> list[str]:
        """As they are typed."""
        words = ["--preflight", "off", "--grace", f"{self.grace:g}", "--linger", "1"]
        words += ["--node-timeout", f"{self.node_timeout:g}"]
        words += ["--connect-timeout", f"{self.connect_timeout:g}"]
        if self.restarts:
            words += ["--restarts", str(self.restarts)]
        if self.detach:
            words += ["--detach"]
        if self.timeout is not None:
            words += ["--timeout", f"{self.timeout:g}"]
        if self.lease is not None:
            words += ["--lease", f"{self.lease:g}"]
        if self.keep_going:
            words += ["--on-failure", "continue"]
        return words


@dataclass(frozen=True)
class Fault:
    """Harm of a `kind` to a `target`, `delay` seconds after a phase is reached.

    `target` is a sort of process, or `link`, `disk`, `node`, `run`; `where` a node or `ctl`. What can be
    undone is, after `seconds`. `pick` chooses among several processes.
    """

    kind: str
    target: str
    where: str
    phase: Phase
    delay: float
    seconds: float = 0.0
    pick: int = 0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f}s" if self.seconds else ""
        if self.seconds == HALT:
            lasting = " for good"
        return f"{self.kind} {self.target}@{self.where} {self.phase}+{self.delay:.2f}{lasting}"


@dataclass(frozen=True)
class Draw:
    """All that a seed decides. So many `lookers` come at once when the run has no controller."""

    seed: int
    job: Job
    options: Options
    faults: tuple[Fault, ...]
    lookers: int = 1

    def __str__(self) -> str:
        job = self.job
        ends = " ".join(
            f"r{rank}:{end.how}{end.number}@{end.step}{'*' if end.again else ''}"
            for rank, end in job.endings.items()
        )
        shape = (
            f"{job.nodes}x{job.per_node} {job.launcher} {job.steps}x{job.pause:g}s {job.on_term}"
        )
        words = " ".join(self.options.words()[2:])
        who = f" {self.lookers} look" if self.lookers > 1 else ""
        struck = " & ".join(map(str, self.faults))
        return f"seed {self.seed}: {shape} [{ends}] {words}{who} | {struck}"


# (kind, target), and how often it is drawn.
_FAULTS: list[tuple[str, str, int]] = [
    ("kill", "controller", 6),
    ("freeze", "controller", 3),
    ("hangup", "controller", 3),
    ("interrupt", "controller", 4),
    ("term", "controller", 3),
    ("kill", "supervisor", 5),
    ("freeze", "supervisor", 4),
    ("hangup", "supervisor", 2),
    ("term", "supervisor", 2),
    ("interrupt", "supervisor", 1),
    ("kill", "agent", 4),
    ("freeze", "agent", 2),
    ("halt", "agent", 2),
    ("hangup", "agent", 1),
    ("term", "agent", 1),
    ("interrupt", "agent", 1),
    ("kill", "session", 3),
    ("freeze", "session", 1),
    ("halt", "session", 2),
    ("hangup", "session", 1),
    ("term", "session", 1),
    ("kill", "listener", 2),
    ("freeze", "listener", 1),
    ("kill", "rank", 6),
    ("freeze", "rank", 2),
    ("hangup", "rank", 2),
    ("term", "rank", 2),
    ("interrupt", "rank", 1),
    ("cut", "link", 7),
    ("lose", "link", 2),
    ("slow", "link", 2),
    ("fill", "disk", 4),
    ("vanish", "node", 3),
    ("stop", "run", 5),
    ("logs", "run", 2),
    ("attach", "run", 2),
    ("status", "run", 2),
    ("crowd", "run", 2),
]
_TORCHRUN_FAULTS = [
    ("kill", "launcher", 12),
    ("freeze", "launcher", 6),
    ("term", "launcher", 4),
    ("interrupt", "launcher", 2),
    ("hangup", "launcher", 2),
    ("kill", "shim", 10),
    ("freeze", "shim", 2),
    ("term", "shim", 2),
    ("hangup", "shim", 1),
]
_LATER: Sequence[Phase] = ("running", "running", "running", "end", "exit", "stop")
_DELAYS: Mapping[Phase, float] = {
    "before": 0.0, "connect": 0.8, "end": 0.4, "exit": 0.4, "stop": 0.6
}  # fmt: skip
_ENDS_IT = ("interrupt", "term", "kill", "hangup", "stop")
_TWINS = 0.15  # of the draws: the second fault comes with the first, within _AT_ONCE seconds
_AT_ONCE = 0.2
_SAME = 0.4  # of those: it is the same on another node


def draw(seed: int, *, has_torch: bool = True) -> Draw:
    """Return what a seed decides; without torch, no torchrun."""
    random = Random(seed)
    is_torchrun = random.random() < TORCHRUN_SHARE and has_torch
    job = _job(random, "torchrun" if is_torchrun else "direct")
    restarts = int(random.random() < 0.3)
    options = Options(
        grace=random.choice([0.3, 0.7, 1.2]),
        node_timeout=random.choice([2.0, 3.0, 4.0]),
        connect_timeout=random.choice([2.0, 3.0]),
        restarts=restarts,
        detach=random.random() < 0.25,
        timeout=random.choice([1.5, 2.5]) if random.random() < 0.12 else None,
        lease=random.choice([2.0, 3.0]) if random.random() < 0.15 else None,
        keep_going=not restarts and random.random() < 0.12,
    )
    first = _fault(random, job, is_stopped=bool(job.endings))
    if random.random() < _TWINS:
        second = _twin(random, job, first)
    else:
        is_stopped = bool(job.endings) or first.kind in _ENDS_IT
        second = _fault(random, job, is_stopped=is_stopped)
    lookers = random.choice([1, 1, 5])
    return Draw(seed, job, options, (first, second), lookers)


def _job(random: Random, launcher: Literal["direct", "torchrun"]) -> Job:
    nodes, per_node = random.choice([(2, 1), (2, 2), (3, 1), (3, 1), (2, 1)])
    steps = random.randint(20, 60)
    endings: dict[int, Ending] = {}
    if random.random() < 0.35:
        how = random.choice(["exit", "exit", "raise", "signal"])
        number = {
            "exit": random.choice([1, 3, 77]),
            "raise": 1,
            "signal": random.choice([signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT]),
        }[how]
        ending = Ending(
            how=how,  # type: ignore[arg-type]
            step=random.randint(1, steps - 1),
            number=int(number),
            again=random.random() < 0.5,
        )
        endings[random.randrange(nodes * per_node)] = ending
    on_term: Sequence[OnTerm] = ("leave", "leave", "save", "ignore", "default")
    return Job(
        nodes=nodes,
        per_node=per_node,
        launcher=launcher,
        steps=steps,
        pause=random.choice([0.02, 0.04]),
        size=random.choice([40, 400, 4000]),
        on_term=random.choice(on_term),
        grandchildren=random.random() < 0.5,
        endings=endings,
    )


def _fault(random: Random, job: Job, *, is_stopped: bool) -> Fault:
    """Draw one; `is_stopped` says whether something else is likely to have the run stopped."""
    table = _FAULTS + (_TORCHRUN_FAULTS if job.launcher == "torchrun" else [])
    kind, target, _ = random.choices(table, [weight for _, _, weight in table])[0]
    if kind == "term" and target in ("rank", "launcher") and job.on_term in ("save", "ignore"):
        kind = "kill"  # one that then left with 0 would have succeeded, for all that anyone knows
    where = _where(random, job, kind, target)
    phase = _phase(random, kind, target)
    if phase == "stop" and (job.on_term == "default" or not is_stopped):
        phase = "running"  # nobody would note it
    delay = random.uniform(0.0, _DELAYS.get(phase, job.steps * job.pause))
    return Fault(
        kind=kind,
        target=target,
        where=where,
        phase=phase,
        delay=round(delay, 2),
        seconds=_seconds(random, kind, target),
        pick=random.randrange(1000),
    )


def _twin(random: Random, job: Job, first: Fault) -> Fault:
    """Draw one that comes with the first: the same elsewhere, or another."""
    delay = round(max(0.0, first.delay + random.uniform(-_AT_ONCE, _AT_ONCE)), 2)
    if first.where in job.names and random.random() < _SAME:
        where = random.choice([name for name in job.names if name != first.where])
        return replace(first, where=where, delay=delay, pick=random.randrange(1000))
    other = _fault(random, job, is_stopped=True)
    return replace(other, phase=first.phase, delay=delay)


def _where(random: Random, job: Job, kind: str, target: str) -> str:
    if target in ("controller", "run"):
        return "ctl"
    may_be_ctl = target in ("link", "disk")
    return random.choice([*job.names, "ctl"] if may_be_ctl else job.names)


def _phase(random: Random, kind: str, target: str) -> Phase:
    if target in ("link", "disk", "listener") and random.random() < 0.3:
        return random.choice(["before", "connect"])
    if target in ("controller", "agent", "session") and random.random() < 0.12:
        return "connect"
    return random.choice(_LATER)


def _seconds(random: Random, kind: str, target: str) -> float:
    """How long it lasts, where it ends at all; an sshd that was killed is started again."""
    if kind == "halt":
        return HALT
    if kind in ("freeze", "cut", "lose", "slow", "fill") or (kind, target) == ("kill", "listener"):
        return round(random.choice([random.uniform(0.3, 2.0), random.uniform(2.0, 6.0)]), 1)
    return 0.0
