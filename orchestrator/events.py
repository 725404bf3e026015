"""What happens during a use case, as typed values: the user interface shows them, JSON serialises them,
and a run records them. Times are in seconds, moments since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.stream import Stream
from orchestrator.plan.plan import Plan
from orchestrator.reasons import Stop


class Event:
    """The base of all events."""


@dataclass(frozen=True)
class PhaseBegan(Event):
    """A phase (connect, facts, sync, preflight, start) began on `nodes`."""

    phase: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class PhaseAdvanced(Event):
    """`node` has finished the phase, successfully or not."""

    phase: str
    node: str
    succeeded: bool


@dataclass(frozen=True)
class PhaseEnded(Event):
    """All nodes have finished the phase, after `seconds`; `detail` is a short remark or empty."""

    phase: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Sending(Event):
    """The local folder `source`, `files` files of `size` bytes, is about to be copied to the nodes."""

    source: Path
    files: int
    size: int


@dataclass(frozen=True)
class SyncAdvanced(Event):
    """rsync has sent `sent` of `total` bytes to `node`."""

    node: str
    sent: int
    total: int


@dataclass(frozen=True)
class FetchAdvanced(Event):
    """`node` has sent `received` of `total` bytes of the run's files."""

    node: str
    received: int
    total: int


@dataclass(frozen=True)
class Fetched(Event):
    """`files` files of `node`, `size` bytes in all, were copied to `folder` in `seconds`.

    `same` were there already. `left` are the files that were not fetched, each with the reason, `newer` of
    them because the local file is newer.
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
class FilesWritten(Event):
    """The run has written `files` files, `size` bytes in all, in its working `folder` on `node`."""

    run: str
    node: str
    folder: str
    files: int
    size: int


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True)
class Uneven(Event):
    """The script opens the file `path`, which an earlier run left on the nodes `there`, not on `absent`."""

    path: str
    there: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """A run that has used `nodes` for `seconds`; `is_known` if it was launched from this machine."""

    run: str
    nodes: tuple[str, ...]
    seconds: float
    is_known: bool


@dataclass(frozen=True)
class NodesInUse(Event):
    """Other runs use the nodes of a launch.

    `place` is its place in the queue, from 1; None: it does not wait.
    """

    users: tuple[User, ...]
    place: int | None = None


@dataclass(frozen=True)
class Planned(Event):
    """The plan is made: what will run where."""

    plan: Plan


@dataclass(frozen=True)
class Started(Event):
    """Every node has started its share; logs are copied to `folder` on this machine."""

    run: str
    folder: Path


@dataclass(frozen=True)
class Output(Event):
    """Bytes that were added to a stream: `data` at `offset`, stored in the local file `copy`.

    With a `hole` (a number of zero bytes), `data` is a line of text that stands for them.
    """

    stream: Stream
    offset: int
    data: bytes
    time: float
    copy: Path
    hole: int = 0


@dataclass(frozen=True)
class GpuUse:
    """How busy a GPU is, in percent, and how many bytes of its memory are used; None if unknown."""

    index: int
    busy: int | None
    used: int | None
    total: int | None


@dataclass(frozen=True)
class GpusSampled(Event):
    """How busy the GPUs are that the ranks on `node` use; `time` is the controller's."""

    node: str
    gpus: tuple[GpuUse, ...]
    time: float


@dataclass(frozen=True)
class Following(Event):
    """The controller now receives the reports of `node`."""

    node: str


@dataclass(frozen=True)
class RankBegan(Event):
    """A rank was started as process `pid` on `node`."""

    rank: int
    local_rank: int
    node: str
    attempt: int
    pid: int
    time: float


@dataclass(frozen=True)
class RankEnded(Event):
    """A rank exited with `code` or was killed by `signal`."""

    rank: int
    node: str
    code: int | None
    signal: int | None
    time: float


@dataclass(frozen=True)
class Stopping(Event):
    """All nodes are asked to `stop`, with `grace` seconds between SIGTERM and SIGKILL."""

    stop: Stop
    grace: float


@dataclass(frozen=True)
class Restarting(Event):
    """An attempt failed, for the reason `because`; number `attempt` (from 1) of `of` follows."""

    attempt: int
    of: int
    because: str


@dataclass(frozen=True)
class Stalled(Event):
    """The run has made no progress for `seconds`.

    `stacks` says where its ranks are, those at the same place together; `stuck` are the connections without
    an answer; `suspect` is the rank or node that the others wait for, or empty.
    """

    seconds: float
    stacks: tuple[str, ...]
    stuck: tuple[str, ...]
    suspect: str


@dataclass(frozen=True)
class Resumed(Event):
    """The run makes progress again, after `seconds` without any."""

    seconds: float


@dataclass(frozen=True)
class Straggling(Event):
    """The other ranks of the run wait for `ranks`, on `nodes`, at each step.

    `kind` is what they do meanwhile (`run`, `sleep`, `disk` ...), `network` if their connections are slow,
    or `steps` if ranks that do not wait for each other advance at different speeds; `does` is that in
    words. `share` is the part of the time (0 to 1) that is lost, `seconds` that of a step (None: unknown).
    `place` is where the ranks are in their code: `load (train.py:42)`, or empty.
    """

    ranks: tuple[int, ...]
    nodes: tuple[str, ...]
    kind: str
    does: str
    share: float
    seconds: float | None
    place: str


@dataclass(frozen=True)
class CaughtUp(Event):
    """The others no longer wait for `ranks`, which were reported as `Straggling` on `nodes`."""

    ranks: tuple[int, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodeLost(Event):
    """The connection to `node` broke; the job keeps running there, and orch tries to reconnect.

    `cause` is the reason, without the name of the node.
    """

    node: str
    cause: str


@dataclass(frozen=True)
class NodeBack(Event):
    """The connection to `node` is up again, after `seconds` without it."""

    node: str
    seconds: float


@dataclass(frozen=True)
class NodeEnded(Event):
    """The run is over on `node`: ended, lost (its supervisor died) or absent (no trace of the run).

    `left` are the processes that could not be killed.
    """

    node: str
    state: str
    left: tuple[int, ...]


@dataclass(frozen=True)
class NodeGone(Event):
    """`node` counts as failed because nothing reaches it; `why`: `could not be reached for 60 s`."""

    node: str
    why: str


@dataclass(frozen=True)
class NodeLeft(Event):
    """An elastic run continues without `node`, on `staying` of `of` nodes; `why` as in `NodeGone`.

    The launchers on the other nodes restart all ranks.
    """

    node: str
    why: str
    staying: int
    of: int


@dataclass(frozen=True)
class Explained(Event):
    """Why the run failed: what failed first, and what is known about it.

    `how` is that in one line. `rank` is None for a launcher or a whole node; it ended with `code` or by
    `signal`, `after` seconds. `error` is the Python exception, `place` its position in the user's own code.
    `signature` is the id of the row of the table that `meaning`, `cause` and `fix` come from (empty: none
    matches), `check` the preflight check that finds this, and `evidence` the text that matched. `lines` are
    the last lines of its `channel`. `victims` are the ranks that ended badly after it, `unbegun` those
    that were not seen to start. `logs` is the file or folder with its output, `command` shows it.
    `oom_kills` is how many processes of its control group the kernel killed for lack of memory, if that
    count is the evidence. `looked` says where on its node orch looked for the cause, and what it saw there.
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
    looked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detached(Event):
    """The run continues without this controller, for `reason`.

    Another controller takes over in the background.
    """

    run: str
    reason: str


@dataclass(frozen=True)
class Ended(Event):
    """The run has ended: `summary` in one line, and `stop` if it was stopped.

    `detail` is the part of `summary` after how it ended, `: r1 get (train.py:11)`, or empty.
    """

    run: str
    exit_code: int
    seconds: float
    summary: str
    folder: Path
    stop: Stop | None = None
    detail: str = ""


Emit = Callable[[Event], None]
