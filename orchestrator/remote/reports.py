"""What an agent reports of a run, as typed values; whatever else it says is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.remote.text import printable
from orchestrator.signal_names import signal_name

_LONGEST_REASON = 500
_END_OF_TIME = 1e11  # seconds since the epoch: no clock of a machine that trains says so


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
class StatusReport:
    """The state of a supervisor: running, stopping, ended, lost (it died without a word), or absent.

    Absent is a run of which the node has nothing (any more). `launcher` is how the launcher ended, where
    there is one and it has; `left` the processes of the run that could not be killed; `stopped` why it
    was told to stop, or did so by itself, one line, None if it was not, and `stopped_at` when (the
    node's clock, since the epoch). `attempt` is which of the run's it minds, None where there is none.
    """

    state: str
    launcher: ProcessEnd | None
    left: tuple[int, ...]
    stopped: str | None = None
    stopped_at: float | None = None
    attempt: int | None = None


Report = Chunk | RankReport | StatusReport


def parse(header: dict[str, Any], payload: bytes) -> Report:
    """Return the report that one message of a `follow` carries.

    Raises ValueError, KeyError or TypeError for anything that is not one.
    """
    if "f" in header:
        return Chunk(_text(header["f"]), _count(header["o"]), moment(header["t"]), payload)
    if "rank" in header:
        record = header["rank"]
        ended = None if record["ended"] is None else moment(record["ended"])
        return RankReport(
            rank=_count(record["rank"]),
            local_rank=_count(record["local_rank"]),
            attempt=_count(record["attempt"]),
            pid=_count(record["pid"]),
            started=moment(record["started"]),
            ended=ended,
            end=None if ended is None else _end(record),
            world_size=_count(record.get("world_size", 0)),
        )
    status = header["status"]
    launcher = status["launcher"]
    if status["state"] not in ("running", "stopping", "ended", "lost", "absent"):
        raise ValueError(f"unknown state {status['state']!r}")
    stopped, stopped_at = status.get("stopped"), status.get("stopped_at")
    attempt = status.get("attempt")
    return StatusReport(
        state=status["state"],
        launcher=None if launcher is None or launcher["ended"] is None else _end(launcher),
        left=pids(status["left"]),
        stopped=None if stopped is None else printable(_text(stopped), _LONGEST_REASON),
        stopped_at=None if stopped_at is None else moment(stopped_at),
        attempt=None if attempt is None else _count(attempt),
    )


def _end(record: dict[str, Any]) -> ProcessEnd:
    code, number = record["code"], record["signal"]
    if (code is None) == (number is None):
        raise ValueError("a process ends with a code or by a signal")
    return ProcessEnd(
        None if code is None else _count(code, 255), None if number is None else _count(number, 127)
    )


def moment(value: Any) -> float:
    """Return a time that a node told, in seconds since the epoch. Raises ValueError for none.

    What is no time that a calendar has would end whoever shows it.
    """
    if not isinstance(value, int | float) or not 0 <= value < _END_OF_TIME:
        raise ValueError(f"not a time: {value!r:.100}")
    return float(value)


def pids(value: Any) -> tuple[int, ...]:
    """Return the processes that a node named. Raises ValueError where it did not."""
    if not isinstance(value, list):
        raise ValueError(f"not a list of processes: {value!r:.100}")
    return tuple(_count(pid) for pid in value)


def _count(value: Any, most: int = (1 << 63) - 1) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"not a count: {value!r:.100}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r}")
    return value
