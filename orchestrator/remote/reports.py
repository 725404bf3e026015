"""What an agent reports about a run, as typed values; invalid reports are refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.legacy_reasons import parse_stop
from orchestrator.util.answers import count, optional, pids, reader, text, timestamp
from orchestrator.util.signals import signal_name
from orchestrator.util.text import printable

_MAX_REASON = 500  # characters
_MAX_NAME = 40  # characters
_MAX_NAMED = 20  # processes
_MAX_ZEROS = 1 << 44  # in one message of an agent

FILE_PROBLEMS = ("name", "no-file", "no-folder", "unreadable", "replaced", "shorter")

_Count = Annotated[int, count]
_Time = Annotated[float, timestamp]


@dataclass(frozen=True)
class Chunk:
    """New bytes of a log file on the node: `data` at `offset` of `path`, written by `time`.

    The time is the node's, since the epoch.
    """

    path: str
    offset: int
    time: float
    data: bytes


@dataclass(frozen=True)
class Zeros:
    """`count` zero bytes at `offset` of the log file `path`, perhaps a hole in the file."""

    path: str
    offset: int
    time: float
    count: int


@dataclass(frozen=True)
class FileProblem:
    """A file in the run's folder on the node is skipped or was replaced.

    `why` is one of `FILE_PROBLEMS`: not a name that orch uses, not a regular file, not a folder,
    unreadable, replaced by another file, or shorter than before.
    """

    path: str
    why: str


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: its exit code, or the signal that ended it."""

    code: Annotated[int, partial(count, limit=255)] | None
    signal: Annotated[int, partial(count, limit=127)] | None

    @property
    def succeeded(self) -> bool:
        return self.code == 0

    @property
    def how(self) -> str:
        """The end in words: `exited with 3`, `was killed by SIGKILL`."""
        if self.signal is not None:
            return f"was killed by {signal_name(self.signal)}"
        return f"exited with {self.code}"

    @property
    def exit_code(self) -> int:
        """The code as a shell reports it: 128 + N for signal N."""
        return 128 + (self.signal or 0) if self.code is None else self.code


def _end(record: Any) -> ProcessEnd | None:
    """Return how the process in a record ended; None if there is none or it is running."""
    if record is None or record["ended"] is None:
        return None
    if (record["code"] is None) == (record["signal"] is None):
        raise ValueError("a process ends with a code or by a signal")
    return reader(ProcessEnd)(record)


_End = Annotated[ProcessEnd | None, _end]


@dataclass(frozen=True)
class RankReport:
    """The state of one rank; `end` is None while it runs. Times are the node's, since the epoch.

    `world_size` is the number of ranks that its launcher started together; 0 if it started none.
    """

    rank: _Count
    local_rank: _Count
    attempt: _Count
    pid: _Count
    started: _Time
    ended: _Time | None
    end: _End
    world_size: _Count = 0


@dataclass(frozen=True)
class LeftBehind:
    """Processes, with their names, that ranks left running although all ranks succeeded.

    They may run for `limit` more seconds; `ended` is whether they have been killed since.
    """

    processes: tuple[tuple[int, str], ...]
    limit: float
    ended: bool


def _left_behind(raw: Any) -> LeftBehind:
    processes = [(count(pid), printable(text(name), _MAX_NAME)) for pid, name in raw["processes"]]
    return LeftBehind(tuple(processes[:_MAX_NAMED]), timestamp(raw["limit"]), raw["ended"] is True)


def _state(raw: Any) -> str:
    if raw not in ("running", "stopping", "ended", "lost", "absent"):
        raise ValueError(f"unknown state {raw!r:.100}")
    return str(raw)


def _stopped(status: Any) -> Stop | None:
    """Return why a supervisor stopped; an earlier version reports it as a sentence."""
    if status.get("stopped") is None:
        return None
    said = printable(text(status["stopped"]), _MAX_REASON)
    reason = _reason(said)
    if reason is None:
        return parse_stop(said)
    detail = status.get("stopped_detail") or {}
    because = optional(text, detail.get("because"))
    return Stop(
        reason,
        node=printable(text(detail.get("node", "")), _MAX_REASON),
        text=printable(text(detail.get("text", "")), _MAX_REASON),
        seconds=optional(timestamp, detail.get("seconds")),
        signal=optional(partial(count, limit=127), detail.get("signal")),
        pid=optional(count, detail.get("pid")),
        because=None if because is None else _reason(because),
    )


def _reason(value: str) -> StopReason | None:
    """Return the reason with this id; None if this version does not know it."""
    return next((reason for reason in StopReason if reason.value == value), None)


@dataclass(frozen=True)
class StatusReport:
    """The state of a supervisor: running, stopping, ended, lost (it died without a report), or absent.

    Absent: the node has nothing of the run, or nothing any more. `launcher` is how the launcher ended and
    `launcher_ended` when; both None if there is no launcher or it is running. `left` are processes that
    could not be killed. `stopped` is why the supervisor stopped, by request or by itself, and `stopped_at`
    when; None if it did not stop. `attempt` is the attempt that it supervises, None for none; `behind` is
    what ranks left running. Times are the node's, since the epoch.
    """

    state: Annotated[str, _state]
    launcher: _End
    left: Annotated[tuple[int, ...], pids]
    stopped: Annotated[Stop | None, _stopped] = None
    stopped_at: _Time | None = None
    attempt: _Count | None = None
    launcher_ended: _Time | None = None
    behind: Annotated[LeftBehind, _left_behind] | None = None


Report = Chunk | Zeros | FileProblem | RankReport | StatusReport


def parse(header: dict[str, Any], payload: bytes) -> Report:
    """Parse one message of a `follow`. Raises one of PARSE_ERRORS if it is not a valid report."""
    if "f" in header:
        path, offset, time = text(header["f"]), count(header["o"]), timestamp(header["t"])
        if "zeros" in header:
            return Zeros(path, offset, time, count(header["zeros"], _MAX_ZEROS))
        return Chunk(path, offset, time, payload)
    if "odd" in header:
        if header["why"] not in FILE_PROBLEMS:
            raise ValueError(f"unknown kind of file {header['why']!r:.100}")
        return FileProblem(printable(text(header["odd"])), header["why"])
    if "rank" in header:
        return reader(RankReport)({**header["rank"], "end": header["rank"]})
    status = header["status"]
    launcher = status["launcher"]
    ended = None if launcher is None else launcher["ended"]
    return reader(StatusReport)({**status, "stopped": status, "launcher_ended": ended})
