"""One node in the panel: its state, when its ranks last printed, its metrics, and its GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator import events
from orchestrator.logs.metrics import LastMetrics
from orchestrator.logs.sanitize import without_colour
from orchestrator.logs.stream import Channel
from orchestrator.util.durations import age, duration
from orchestrator.util.numbers import folded

_MAX_TAIL = 4096  # bytes of the latest output that are searched for metrics
_MAX_LINES = 8
_LINE_ENDS = re.compile(rb"[\r\n]+")
_MAX_SAMPLE_AGE = 60.0  # seconds for which the load of GPUs is shown
_MAX_GROUPS = 3  # of ranks that printed at about the same time
_GROUP_FACTOR, _GROUP_MARGIN = (
    1.5,
    5.0,
)  # ranks share a group if their ages differ less (times, seconds)


class _MetricsReader:
    """Reads metrics from one channel of a rank."""

    def __init__(self) -> None:
        self._tail = b""
        self._metrics = LastMetrics()

    def feed(self, data: bytes) -> None:
        tail = self._tail + data[-_MAX_TAIL - 1 :]
        if len(tail) > _MAX_TAIL:
            tail = tail[-_MAX_TAIL:]
            end = _LINE_ENDS.search(tail)  # a cut line may have a cut name
            tail = tail[end.end() :] if end is not None else b""
        self._tail = tail

    def numbers(self) -> str:
        *lines, self._tail = _LINE_ENDS.split(self._tail)
        for line in lines[-_MAX_LINES:]:
            self._metrics.read(without_colour(line.decode(errors="replace")))
        return " ".join(f"{name}={value}" for name, value in self._metrics.shown())


@dataclass
class PanelNode:
    """A node of a run. `seen_from_start` says whether all output of its ranks has been seen: if not, a rank
    without output may have printed earlier.
    """

    name: str
    ranks: range
    seen_from_start: bool = True
    state: str = "starting"
    detail: str = ""
    lost_at: float | None = None
    printed: dict[int, float] = field(
        default_factory=dict
    )  # the time of the latest output, by rank
    gpus: tuple[events.GpuUse, ...] = ()
    sampled_at: float = 0.0
    _metrics_rank: int | None = None  # the lowest rank that has printed anything
    _metrics: dict[Channel, _MetricsReader] = field(default_factory=dict)
    _pids: dict[int, int] = field(default_factory=dict)  # by local rank

    def output(self, event: events.Output, now: float) -> None:
        """Take in output that was printed at `now`."""
        if self.state == "starting":
            self.state = "running"
        rank = event.stream.rank
        if rank is None:
            return
        self.printed[rank] = max(now, self.printed.get(rank, now))
        if self._metrics_rank is not None and rank > self._metrics_rank:
            return
        if rank != self._metrics_rank:
            self._metrics_rank = rank
            self._metrics.clear()
        self._metrics.setdefault(event.stream.channel, _MetricsReader()).feed(event.data)

    def rank_began(self, event: events.RankBegan) -> bool:
        """Take in that a rank started; return whether it was restarted, which clears its failure."""
        self.reached()
        is_restart = event.attempt > 0 or self._pids.get(event.local_rank, event.pid) != event.pid
        if is_restart:
            self.state, self.detail = "running", ""
        self._pids[event.local_rank] = event.pid
        first = event.rank - event.local_rank
        if first != self.ranks.start:  # an elastic job has renumbered them
            self.ranks = range(first, first + len(self.ranks))
            self.printed.clear()
            self._metrics_rank = None
        return is_restart

    def reached(self) -> None:
        """Take in that the node is connected."""
        self.lost_at = None
        if self.state == "starting":
            self.state = "running"

    def sampled(self, gpus: tuple[events.GpuUse, ...], at: float) -> None:
        """Take in the load of the GPUs."""
        self.gpus, self.sampled_at = gpus, at

    def lost(self, now: float) -> None:
        """Take in that the connection to the node broke."""
        if self.lost_at is None and self.state != "left":
            self.lost_at = now

    def left(self) -> None:
        """Take in that the run continues without the node."""
        self.state, self.detail, self.lost_at = "left", "", None

    def ended(self, state: str) -> None:
        """Take in that the run has ended on the node."""
        self.lost_at = None
        if self.state not in ("failed", "left"):
            self.state = state

    def describe_state(self, now: float) -> str:
        """Return the state: `running`, `r3 exit 1`, `unreachable 12 s`."""
        if self.lost_at is not None:
            return f"unreachable {duration(now - self.lost_at)}"
        return self.detail or self.state

    def numbers(self) -> str:
        """Return the latest metrics of the lowest rank: `loss=0.3421 step=120`.

        Those on stdout are preferred: stderr has the messages of libraries, too.
        """
        numbers = {channel: reader.numbers() for channel, reader in self._metrics.items()}
        return numbers.get("stdout") or numbers.get("stderr") or ""

    def known_gpus(self, now: float) -> tuple[events.GpuUse, ...]:
        """Return the load of its GPUs; empty if the latest sample is too old."""
        return self.gpus if now - self.sampled_at < _MAX_SAMPLE_AGE else ()


def printed(nodes: Sequence[PanelNode], now: float, *, brief: bool = False) -> str:
    """Return how long ago the ranks of some nodes last printed: `printed r0 2 s, r1-7 3 min ago`.

    Ranks that printed at about the same time share an age; those that never printed are listed as such, if
    that is known. `brief` has the latest age only. Empty before the ranks run and after they have ended.
    """
    is_certain = all(node.seen_from_start for node in nodes)
    live = [node for node in nodes if node.state in ("running", "stopping")]
    ages = {
        rank: now - node.printed[rank] if rank in node.printed else None
        for node in live
        for rank in node.ranks
    }
    known = sorted((since, rank) for rank, since in ages.items() if since is not None)
    if not known:
        return "nothing printed" if ages and is_certain else ""
    if brief:
        return f"printed {age(known[0][0])} ago"
    groups: list[tuple[float, list[int]]] = []
    for since, rank in known:
        if groups and (
            since <= groups[-1][0] * _GROUP_FACTOR + _GROUP_MARGIN or len(groups) == _MAX_GROUPS
        ):
            groups[-1][1].append(rank)
        else:
            groups.append((since, [rank]))
    silent = [rank for rank, since in ages.items() if since is None]
    if len(groups) == 1 and not silent:
        return f"printed {age(groups[0][0])} ago"
    ages_by_group = [f"r{folded(ranks)} {age(since)}" for since, ranks in groups]
    never = [f"r{folded(silent)} never"] if silent and is_certain else []
    return f"printed {', '.join([', '.join(ages_by_group) + ' ago', *never])}"


def gpus(nodes: Sequence[PanelNode], now: float) -> str:
    """Return the load of the GPUs of some nodes: `GPU 97% 62/80 GiB`, `GPU 0-98% 62/80 GiB`.

    Of several GPUs, it is the range of their load, and the memory of the fullest one.
    """
    uses = [gpu for node in nodes for gpu in node.known_gpus(now)]
    parts = []
    busy = sorted(gpu.busy for gpu in uses if gpu.busy is not None)
    if busy:
        parts.append(f"{busy[0]}%" if busy[0] == busy[-1] else f"{busy[0]}-{busy[-1]}%")
    memory = [(gpu.used, gpu.total) for gpu in uses if gpu.used is not None and gpu.total]
    if memory:
        used, total = max(memory, key=lambda each: each[0] / each[1])
        parts.append(f"{_gibibytes(used)}/{_gibibytes(total)} GiB")
    return f"GPU {' '.join(parts)}" if parts else ""


def _gibibytes(size: int) -> str:
    number = size / (1 << 30)
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"
