"""What happens during a use case, as typed values: ui renders them, JSON serialises them, a run records
them. Times are seconds; moments are since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.stream import Stream
from orchestrator.plan.plan import Plan


@dataclass(frozen=True)
class PhaseBegan:
    """A phase (connect, facts, sync, preflight, start) began; it has these `nodes` to go."""

    phase: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class PhaseAdvanced:
    """`node` is done with the phase, well or not."""

    phase: str
    node: str
    succeeded: bool


@dataclass(frozen=True)
class PhaseEnded:
    """All nodes are done with the phase, after `seconds`; `detail` is worth a few words, or empty."""

    phase: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class SyncAdvanced:
    """rsync has sent `sent` of `total` bytes to `node`."""

    node: str
    sent: int
    total: int


@dataclass(frozen=True)
class Warned:
    """Something that a person should know, and that stops nothing."""

    message: str


@dataclass(frozen=True)
class Planned:
    """It is decided what will run where."""

    plan: Plan


@dataclass(frozen=True)
class Started:
    """Every node has started its share; logs come to `folder` on this machine."""

    run: str
    folder: Path


@dataclass(frozen=True)
class Output:
    """Bytes that a stream gained: `data` at `offset`, kept at `copy` on this machine."""

    stream: Stream
    offset: int
    data: bytes
    time: float
    copy: Path


@dataclass(frozen=True)
class Following:
    """What `node` does is heard from now on."""

    node: str


@dataclass(frozen=True)
class RankBegan:
    """A rank began as process `pid` of `node`."""

    rank: int
    local_rank: int
    node: str
    attempt: int
    pid: int
    time: float


@dataclass(frozen=True)
class RankEnded:
    """A rank ended with `code`, or by `signal`."""

    rank: int
    node: str
    code: int | None
    signal: int | None
    time: float


@dataclass(frozen=True)
class Stopping:
    """All nodes are told to stop, for `reason`; they have `grace` seconds."""

    reason: str
    grace: float


@dataclass(frozen=True)
class Restarting:
    """An attempt has failed, for this reason, and another follows: the `attempt`-th (from 1) of `of`."""

    attempt: int
    of: int
    because: str


@dataclass(frozen=True)
class Stalled:
    """Nothing of the run has moved for `seconds`. `stacks` are where its ranks are, those at one place
    together, `stuck` the connections that get no answer; `suspect` is who keeps the others, or empty.
    """

    seconds: float
    stacks: tuple[str, ...]
    stuck: tuple[str, ...]
    suspect: str


@dataclass(frozen=True)
class Resumed:
    """The run gets on again; it had not moved for `seconds`."""

    seconds: float


@dataclass(frozen=True)
class NodeLost:
    """The connection to `node` broke; the run goes on there, and orch tries to come back."""

    node: str
    cause: str


@dataclass(frozen=True)
class NodeBack:
    """The connection to `node` is there again, after `seconds` without it."""

    node: str
    seconds: float


@dataclass(frozen=True)
class NodeEnded:
    """The run is over on `node`: ended, lost (its supervisor died) or absent (there is nothing of it).

    `left` are the processes that could not be killed.
    """

    node: str
    state: str
    left: tuple[int, ...]


@dataclass(frozen=True)
class NodeLeft:
    """An elastic run goes on without `node`, for `why` (`could not be reached for 60 s`): with `staying`
    nodes of `of`, on which the launchers start all ranks again.
    """

    node: str
    why: str
    staying: int
    of: int


@dataclass(frozen=True)
class Explained:
    """Why the run failed: what failed first, and what is known of that.

    `how` is that in one line. `rank` is None where it was a launcher or a whole node; `code` or `signal`
    ended it `after` so many seconds of its life. `error` is the Python exception, `place` where in the
    user's own code. `signature` names the row of the table that `meaning`, `cause` and `fix` come from
    (empty: none fits), `check` the preflight check that would have told, and `evidence` the words that it
    was known by. `lines` are the last ones of its `channel`. `victims` are the ranks that ended badly after
    it. `logs` has what it printed, and `command` shows it.
    """

    run: str
    how: str
    node: str
    rank: int | None
    code: int | None
    signal: int | None
    after: float | None
    error: str
    place: str
    signature: str
    meaning: str
    cause: str
    fix: str
    check: str
    evidence: str
    channel: str
    lines: tuple[str, ...]
    victims: tuple[int, ...]
    logs: Path
    command: str


@dataclass(frozen=True)
class Detached:
    """The run goes on without this controller, for `reason`; another minds it in the background."""

    run: str
    reason: str


@dataclass(frozen=True)
class Ended:
    """The run is over: one line on how, and where its logs are."""

    run: str
    exit_code: int
    seconds: float
    summary: str
    folder: Path


Event = (
    PhaseBegan
    | PhaseAdvanced
    | PhaseEnded
    | SyncAdvanced
    | Warned
    | Planned
    | Started
    | Following
    | Output
    | RankBegan
    | RankEnded
    | Stopping
    | Restarting
    | Stalled
    | Resumed
    | NodeLost
    | NodeBack
    | NodeEnded
    | NodeLeft
    | Explained
    | Detached
    | Ended
)

Emit = Callable[[Event], None]
