"""What the panel knows of one node: its ranks, what it said last, its numbers, and its GPUs."""

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

# Of the last output, in which numbers are looked for.
_TAIL = 4096  # bytes
_LINES = 8
_LINE_ENDS = re.compile(rb"[\r\n]+")
_OLD_SAMPLE = 60.0  # seconds after which it is not known any more how busy GPUs are
_GROUPS = 3  # of ranks that printed at about the same time
_ALIKE, _APART = 1.5, 5.0  # times as long ago, and seconds, within which ranks are one group


class _Voice:
    """One channel of the rank that speaks for its node."""

    def __init__(self) -> None:
        self._tail = b""
        self._metrics = LastMetrics()

    def hear(self, data: bytes) -> None:
        tail = self._tail + data[-_TAIL - 1 :]
        if len(tail) > _TAIL:
            tail = tail[-_TAIL:]
            begun = _LINE_ENDS.search(tail)  # half a line has half a name
            tail = tail[begun.end() :] if begun is not None else b""
        self._tail = tail

    def numbers(self) -> str:
        *lines, self._tail = _LINE_ENDS.split(self._tail)
        for line in lines[-_LINES:]:
            self._metrics.read(without_colour(line.decode(errors="replace")))
        return " ".join(f"{name}={value}" for name, value in self._metrics.shown())


@dataclass
class PanelNode:
    """One node: what became of it, and what its ranks do. What they printed before we looked is known only
    where that was `seen_from_start`.
    """

    name: str
    ranks: range
    seen_from_start: bool = True
    state: str = "starting"
    detail: str = ""
    lost_at: float | None = None
    printed: dict[int, float] = field(default_factory=dict)  # when, by rank
    gpus: tuple[events.GpuUse, ...] = ()
    sampled_at: float = 0.0
    _speaker: int | None = None
    _voices: dict[Channel, _Voice] = field(default_factory=dict)
    _processes: dict[int, int] = field(default_factory=dict)  # pid by local rank

    def hears(self, event: events.Output, now: float) -> None:
        """Take in what was printed at `now`: numbers are those of the lowest rank that prints any."""
        if self.state == "starting":
            self.state = "running"
        rank = event.stream.rank
        if rank is None:
            return
        self.printed[rank] = max(now, self.printed.get(rank, now))
        if self._speaker is not None and rank > self._speaker:
            return
        if rank != self._speaker:
            self._speaker = rank
            self._voices.clear()
        self._voices.setdefault(event.stream.channel, _Voice()).hear(event.data)

    def begins(self, event: events.RankBegan) -> bool:
        """Take in that a rank began; return whether it did so anew, whose earlier end is forgiven."""
        known = self._processes.get(event.local_rank, event.pid)
        is_anew = event.attempt > 0 or known != event.pid
        if is_anew:
            self.state, self.detail = "running", ""
        self._processes[event.local_rank] = event.pid
        first = event.rank - event.local_rank
        if first != self.ranks.start:  # an elastic job has numbered them otherwise
            self.ranks = range(first, first + len(self.ranks))
            self.printed.clear()
            self._speaker = None
        return is_anew

    def state_in_words(self, now: float) -> str:
        """Return what became of it: `running`, `r3 exit 1`, `unreachable 12 s`."""
        if self.lost_at is not None:
            return f"unreachable {duration(now - self.lost_at)}"
        return self.detail or self.state

    def numbers(self) -> str:
        """Return the last numbers that its lowest rank reported: `loss=0.3421 step=120`.

        What a script prints is on stdout, if it prints any there; stderr has what libraries say.
        """
        said = {channel: voice.numbers() for channel, voice in self._voices.items()}
        return said.get("stdout") or said.get("stderr") or ""

    def known_gpus(self, now: float) -> tuple[events.GpuUse, ...]:
        """Return how busy its GPUs are; none where that is not known any more."""
        return self.gpus if now - self.sampled_at < _OLD_SAMPLE else ()


def printed(nodes: Sequence[PanelNode], now: float, *, brief: bool = False) -> str:
    """Return how long ago each rank of some nodes last printed: `printed r0 2 s, r1-7 3 min ago`.

    Ranks that did so at about the same time are one; those that never did, where that is known, are told
    apart. `brief` is the latest alone. Empty before the ranks run, and when they have ended.
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
        if groups and (since <= groups[-1][0] * _ALIKE + _APART or len(groups) == _GROUPS):
            groups[-1][1].append(rank)
        else:
            groups.append((since, [rank]))
    silent = [rank for rank, since in ages.items() if since is None]
    if len(groups) == 1 and not silent:
        return f"printed {age(groups[0][0])} ago"
    told = [f"{_ranks(ranks)} {age(since)}" for since, ranks in groups]
    told[-1] += " ago"
    if silent and is_certain:
        told.append(f"{_ranks(silent)} never")
    return f"printed {', '.join(told)}"


def gpus(nodes: Sequence[PanelNode], now: float) -> str:
    """Return how busy the GPUs of some nodes are: `GPU 97% 62/80 GiB`, `GPU 0-98% 62/80 GiB`.

    Of several, it is the least and the most busy one, and the one whose memory is fullest.
    """
    uses = [gpu for node in nodes for gpu in node.known_gpus(now)]
    told = []
    busy = sorted(gpu.busy for gpu in uses if gpu.busy is not None)
    if busy:
        told.append(f"{busy[0]}%" if busy[0] == busy[-1] else f"{busy[0]}-{busy[-1]}%")
    memory = [(gpu.used, gpu.total) for gpu in uses if gpu.used is not None and gpu.total]
    if memory:
        used, total = max(memory, key=lambda each: each[0] / each[1])
        told.append(f"{_gibibytes(used)}/{_gibibytes(total)} GiB")
    return f"GPU {' '.join(told)}" if told else ""


def _gibibytes(size: int) -> str:
    number = size / (1 << 30)
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def _ranks(ranks: Sequence[int]) -> str:
    return f"r{folded(ranks)}"
