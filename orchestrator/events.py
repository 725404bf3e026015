"""What happens during a use case, as typed values: ui renders them, JSON serialises them, a run records
them. Times are seconds; moments are since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.stream import Stream
from orchestrator.plan.plan import Plan
from orchestrator.reasons import Stop


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
class Sending:
    """The folder `source` of this machine is about to go to the nodes: so many files, of `size` bytes."""

    source: Path
    files: int
    size: int


@dataclass(frozen=True)
class SyncAdvanced:
    """rsync has sent `sent` of `total` bytes to `node`."""

    node: str
    sent: int
    total: int


@dataclass(frozen=True)
class FetchAdvanced:
    """`node` has sent `received` of `total` bytes of the run's files."""

    node: str
    received: int
    total: int


@dataclass(frozen=True)
class Fetched:
    """So many `files` of `node`, of `size` bytes in all, came into `folder` in `seconds`; `same` were there
    already, and `left` are those that were not fetched, each with the reason; `newer` of them, because
    what is here is newer.
    """

    node: str
    folder: Path
    files: int
    size: int
    same: int
    left: tuple[str, ...]
    seconds: float
    newer: int = 0


@dataclass(frozen=True)
class FilesWritten:
    """The run has written so many `files`, of `size` bytes in all, in its working `folder` on `node`."""

    run: str
    node: str
    folder: str
    files: int
    size: int


@dataclass(frozen=True)
class Warned:
    """Something that a person should know, and that stops nothing."""

    message: str


@dataclass(frozen=True)
class Uneven:
    """The script opens the file `path`, which an earlier run left `there` and not on the `absent` nodes."""

    path: str
    there: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """A run that has used `nodes` for so many `seconds`; with `is_known` this machine launched it."""

    run: str
    nodes: tuple[str, ...]
    seconds: float
    is_known: bool


@dataclass(frozen=True)
class NodesInUse:
    """Other runs use the nodes of a launch, which waits at a `place` in the line, from 1; None: it goes on
    beside them.
    """

    users: tuple[User, ...]
    place: int | None = None


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
    """Bytes that a stream gained: `data` at `offset`, kept at `copy` on this machine.

    With a `hole`, a number of zeros, `data` is a line that stands for them.
    """

    stream: Stream
    offset: int
    data: bytes
    time: float
    copy: Path
    hole: int = 0


@dataclass(frozen=True)
class GpuUse:
    """How busy a GPU is, in percent, and how many bytes of its memory are used; None is unknown."""

    index: int
    busy: int | None
    used: int | None
    total: int | None


@dataclass(frozen=True)
class GpusSampled:
    """How busy the GPUs of `node` that its ranks use are at `time`, the controller's."""

    node: str
    gpus: tuple[GpuUse, ...]
    time: float


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
    """All nodes are told to `stop`; they have `grace` seconds."""

    stop: Stop
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
    """The connection to `node` broke; the run goes on there, and orch tries to come back.

    `cause` says why, without the node's name.
    """

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
class NodeGone:
    """Nobody reaches `node` any more: it counts as failed, for `why` (`could not be reached for 60 s`)."""

    node: str
    why: str


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
    it, `unbegun` those that nobody saw begin. `logs` has what it printed, and `command` shows it.
    `oom_kills` is how many processes of its control group the kernel killed for lack of memory, where the
    evidence is that it counted them.
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
    unbegun: tuple[int, ...] = ()
    oom_kills: int | None = None


@dataclass(frozen=True)
class Detached:
    """The run goes on without this controller, for `reason`; another one takes over in the background."""

    run: str
    reason: str


@dataclass(frozen=True)
class Ended:
    """The run is over: one line on how, where its logs are, and why it was stopped, if it ended so.

    `detail` is the end of `summary` that adds to how it ended: `: r1 get (train.py:11)`, or empty.
    """

    run: str
    exit_code: int
    seconds: float
    summary: str
    folder: Path
    stop: Stop | None = None
    detail: str = ""


Event = (
    PhaseBegan
    | PhaseAdvanced
    | PhaseEnded
    | Sending
    | SyncAdvanced
    | FetchAdvanced
    | Fetched
    | FilesWritten
    | Warned
    | Uneven
    | NodesInUse
    | Planned
    | Started
    | Following
    | Output
    | GpusSampled
    | RankBegan
    | RankEnded
    | Stopping
    | Restarting
    | Stalled
    | Resumed
    | NodeLost
    | NodeBack
    | NodeEnded
    | NodeGone
    | NodeLeft
    | Explained
    | Detached
    | Ended
)

Emit = Callable[[Event], None]
