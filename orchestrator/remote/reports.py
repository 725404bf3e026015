"""What an agent reports of a run, as typed values; whatever else it says is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.legacy_reasons import parse_stop
from orchestrator.util.answers import count, pids, text, timestamp
from orchestrator.util.signals import signal_name
from orchestrator.util.text import printable

_LONGEST_REASON = 500
_LONGEST_NAME = 40
_MOST_NAMED = 20
_MOST_ZEROS = 1 << 44  # as many as one message of an agent tells


@dataclass(frozen=True)
class Chunk:
    """Bytes that a log file on the node gained: `data` at `offset` of `path`, there by `time`.

    The time is the node's, since the epoch.
    """

    path: str
    offset: int
    time: float
    data: bytes


@dataclass(frozen=True)
class Zeros:
    """Bytes that a log file gained, too: `count` zeros at `offset` of `path`, maybe a hole of the file."""

    path: str
    offset: int
    time: float
    count: int


@dataclass(frozen=True)
class FileProblem:
    """A file of the run's folder on the node is skipped, or is not the file it was.

    `why` is one of `FILE_PROBLEMS`: not a name of orch's, not a regular file, not a folder, unreadable;
    replaced by another file, or shorter than before.
    """

    path: str
    why: str


FILE_PROBLEMS = ("name", "no-file", "no-folder", "unreadable", "replaced", "shorter")


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: its exit code, or the signal that ended it."""

    code: int | None
    signal: int | None

    @property
    def succeeded(self) -> bool:
        return self.code == 0

    @property
    def how(self) -> str:
        """How, in words: `exited with 3`, `was killed by SIGKILL`."""
        if self.signal is not None:
            return f"was killed by {signal_name(self.signal)}"
        return f"exited with {self.code}"

    @property
    def exit_code(self) -> int:
        """The code as a shell reports it: 128 + N for signal N."""
        return 128 + (self.signal or 0) if self.code is None else self.code


@dataclass(frozen=True)
class RankReport:
    """The state of one rank; `end` is None while it runs. Times are the node's, since the epoch.

    `world_size` is how many ranks began together with it, as its launcher has it; 0 where there is none.
    """

    rank: int
    local_rank: int
    attempt: int
    pid: int
    started: float
    ended: float | None
    end: ProcessEnd | None
    world_size: int = 0


@dataclass(frozen=True)
class LeftBehind:
    """Processes, each with its name, that ranks have left running though all of them have succeeded.

    They may run for `limit` seconds; `ended` means that they were ended then.
    """

    processes: tuple[tuple[int, str], ...]
    limit: float
    ended: bool


@dataclass(frozen=True)
class StatusReport:
    """The state of a supervisor: running, stopping, ended, lost (it died without a word), or absent.

    Absent is a run of which the node has nothing (any more). `launcher` is how the launcher ended, where
    there is one and it has, and `launcher_ended` when. `left` are the processes of the run that could not
    be killed; `stopped` is why it was asked to stop, or did so by itself, None if it was not,
    and `stopped_at` when. Times are the node's, since the epoch. `attempt` is which of the run's it
    supervises, None where there is none. `behind` is what ranks have left running, None for nothing.
    """

    state: str
    launcher: ProcessEnd | None
    left: tuple[int, ...]
    stopped: Stop | None = None
    stopped_at: float | None = None
    attempt: int | None = None
    launcher_ended: float | None = None
    behind: LeftBehind | None = None


Report = Chunk | Zeros | FileProblem | RankReport | StatusReport


def parse(header: dict[str, Any], payload: bytes) -> Report:
    """Return the report that one message of a `follow` carries.

    Raises ValueError, KeyError or TypeError for anything that is not one.
    """
    if "f" in header:
        path, offset, time = text(header["f"]), count(header["o"]), timestamp(header["t"])
        if "zeros" in header:
            return Zeros(path, offset, time, count(header["zeros"], _MOST_ZEROS))
        return Chunk(path, offset, time, payload)
    if "odd" in header:
        if header["why"] not in FILE_PROBLEMS:
            raise ValueError(f"unknown kind of file {header['why']!r:.100}")
        return FileProblem(printable(text(header["odd"])), header["why"])
    if "rank" in header:
        record = header["rank"]
        ended = None if record["ended"] is None else timestamp(record["ended"])
        return RankReport(
            rank=count(record["rank"]),
            local_rank=count(record["local_rank"]),
            attempt=count(record["attempt"]),
            pid=count(record["pid"]),
            started=timestamp(record["started"]),
            ended=ended,
            end=None if ended is None else _end(record),
            world_size=count(record.get("world_size", 0)),
        )
    status = header["status"]
    launcher = status["launcher"]
    has_ended = launcher is not None and launcher["ended"] is not None
    if status["state"] not in ("running", "stopping", "ended", "lost", "absent"):
        raise ValueError(f"unknown state {status['state']!r:.100}")
    stopped_at = status.get("stopped_at")
    attempt = status.get("attempt")
    return StatusReport(
        state=status["state"],
        launcher=_end(launcher) if has_ended else None,
        launcher_ended=timestamp(launcher["ended"]) if has_ended else None,
        left=pids(status["left"]),
        stopped=_stopped(status.get("stopped"), status.get("stopped_detail") or {}),
        stopped_at=None if stopped_at is None else timestamp(stopped_at),
        attempt=None if attempt is None else count(attempt),
        behind=_behind(status.get("behind")),
    )


def _stopped(reason: Any, detail: Any) -> Stop | None:
    """Return why a supervisor stopped; one of an earlier version says it in a sentence."""
    if reason is None:
        return None
    said = printable(text(reason), _LONGEST_REASON)
    known = _reason(said)
    if known is None:
        return parse_stop(said)
    seconds, number, pid, because = (
        detail.get(name) for name in ("seconds", "signal", "pid", "because")
    )
    return Stop(
        known,
        node=printable(text(detail.get("node", "")), _LONGEST_REASON),
        text=printable(text(detail.get("text", "")), _LONGEST_REASON),
        seconds=None if seconds is None else timestamp(seconds),
        signal=None if number is None else count(number, 127),
        pid=None if pid is None else count(pid),
        because=None if because is None else _reason(text(because)),
    )


def _reason(said: str) -> StopReason | None:
    """Return the reason with this id; None where this version has no such reason."""
    try:
        return StopReason(said)
    except ValueError:
        return None


def _behind(said: Any) -> LeftBehind | None:
    if said is None:
        return None
    processes = [
        (count(pid), printable(text(name), _LONGEST_NAME)) for pid, name in said["processes"]
    ]
    return LeftBehind(
        tuple(processes[:_MOST_NAMED]), timestamp(said["limit"]), said["ended"] is True
    )


def _end(record: dict[str, Any]) -> ProcessEnd:
    code, number = record["code"], record["signal"]
    if (code is None) == (number is None):
        raise ValueError("a process ends with a code or by a signal")
    return ProcessEnd(
        None if code is None else count(code, 255), None if number is None else count(number, 127)
    )
