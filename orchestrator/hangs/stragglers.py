"""Find the ranks that the others of a run wait for at each step. Pure; decision 56 has the reasons.

Collectives make all ranks step equally fast. A straggler is the rank that waits least in them: what it does
instead shows in /proc first (`find_suspects`), and then in its stacks (`Confirmation`).
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.hangs.locations import Location, location_of
from orchestrator.hangs.snapshot import Snapshot
from orchestrator.util.answers import count, text, timestamp

KINDS = ("run", "lock", "sleep", "pipe", "poll", "socket", "disk", "child", "stopped", "other")
"""What a main thread does, as the node reports it (`node/activity.py`)."""

_WAIT = "lock"  # in which ranks wait for a collective, besides other waits
_DOES = {
    "run": "computes", "sleep": "sleeps", "pipe": "waits for data", "poll": "waits for data",
    "socket": "waits for the network", "disk": "waits for a disk", "child": "waits for a process",
    "stopped": "is stopped", "other": "waits",
}  # fmt: skip

_MAX_RANKS, _MAX_PATHS, _MAX_SAMPLES = 256, 512, 1 << 40  # of one node
_MAX_RANK = 10_000_000
_MAX_RTT = 3600.0  # seconds

_MIN_SAMPLES = 40  # of a rank
_MIN_EXCESS = 0.08  # of the time
_SIGMAS = 2.5
_MIN_AGREEING, _PART = 0.7, 0.4  # of the intervals, which have at least this part of the excess
_MIN_HEADED = 5  # snapshots in which the others wait for the rank
_MIN_EPISODES = 3  # at least so many separate times: a long one is a checkpoint or an evaluation
_MIN_SNAPSHOTS = 8
_MIN_WAITING = 0.75  # of the other ranks
_CLEAR_EXCESS = 0.2  # of the time, that counts without stacks

_SLOW_RTT, _SLOW_MIN_RTT = 0.01, 0.005  # seconds
# If the run has two nodes, nothing is there to compare with; delayed acknowledgements take 0.04.
_SLOW_PAIR_RTT, _SLOW_PAIR_MIN_RTT = 0.06, 0.02
_TIMES_SLOWER = 8
_MIN_SENT = 1000  # bytes, between two reports
_MIN_REPORTS, _MAX_REPORTS = 3, 4
MIN_WAITS = 0.3
"""The share of the time for which all ranks must wait before the network is looked at."""


@dataclass(frozen=True)
class RankActivity:
    """How many samples of the main thread of a rank, process `pid`, found it in each of KINDS."""

    rank: int
    pid: int
    kinds: Mapping[str, int]


@dataclass(frozen=True)
class Path:
    """A connection of a rank: `rtt` is its smoothed round trip, `min_rtt` the least (seconds)."""

    local: str
    remote: str
    ports: tuple[int, int]
    rtt: float
    min_rtt: float
    acked: int


@dataclass(frozen=True)
class Activity:
    """What the ranks of a node did since the node was first asked, and their connections."""

    ranks: tuple[RankActivity, ...]
    paths: tuple[Path, ...]


def parse_activity(answer: Any) -> Activity:
    """Return the answer of a node to `activity`. Raises one of PARSE_ERRORS for anything else."""
    ranks, paths = answer["ranks"], answer["paths"]
    if len(ranks) > _MAX_RANKS or len(paths) > _MAX_PATHS:
        raise ValueError("too many ranks or connections")
    return Activity(tuple(map(_rank, ranks)), tuple(map(_path, paths)))


def _rank(answer: Any) -> RankActivity:
    kinds = {text(kind): count(number, _MAX_SAMPLES) for kind, number in answer["kinds"].items()}
    if unknown := kinds.keys() - set(KINDS):
        raise ValueError(f"unknown activities: {sorted(unknown)!r:.100}")
    return RankActivity(count(answer["rank"], _MAX_RANK), count(answer["pid"]), kinds)


def _path(answer: Any) -> Path:
    rtt, min_rtt = (min(timestamp(answer[key]), _MAX_RTT) for key in ("rtt", "min_rtt"))
    local, remote = text(answer["local"])[:45], text(answer["remote"])[:45]
    own, other = (count(port, 65535) for port in answer["ports"])
    return Path(local, remote, (own, other), rtt, min_rtt, count(answer["acked"]))


# -- by samples of /proc -----------------------------------------------------------------------


@dataclass(frozen=True)
class Suspect:
    """A rank that does something for `share` of the time more than the others, that do it for `peers`."""

    rank: int
    kind: str
    share: float

    @property
    def does(self) -> str:
        """What it does, as a verb: `computes`."""
        return _DOES[self.kind]


Interval = Mapping[int, Mapping[str, int]]
"""The samples of an interval: by rank, and by kind."""


def find_suspects(intervals: Sequence[Interval]) -> list[Suspect]:
    """Return the ranks that wait for the others less than those do, in most intervals."""
    ranks = sorted(set.intersection(*(set(each) for each in intervals)) if intervals else ())
    total = {rank: Counter[str]() for rank in ranks}
    for interval in intervals:
        for rank in ranks:
            total[rank].update(interval[rank])
    numbers = {rank: sum(kinds.values()) for rank, kinds in total.items()}
    if len(ranks) < 2 or min(numbers.values()) < _MIN_SAMPLES:
        return []
    found = []
    for rank in ranks:
        excess, kind = max(
            (_excess(total, rank, kind), kind) for kind in (*total[rank], "") if kind != _WAIT
        )
        if not kind:
            continue
        peers = [total[other][kind] / numbers[other] for other in ranks if other != rank]
        noise = _noise(excess + _upper(peers), _upper(peers), numbers[rank])
        if excess >= max(_MIN_EXCESS, _SIGMAS * noise):
            slow = [
                each
                for each in intervals
                if _excess_among(each, ranks, rank, kind) > _PART * excess
            ]
            if len(slow) >= _MIN_AGREEING * len(intervals):
                # Only they count: in the others, the ranks may not have begun to step.
                found.append(Suspect(rank, kind, _more_than_usual(slow, ranks, rank, kind)))
    return sorted(found, key=lambda suspect: -suspect.share)


def waits_of(intervals: Sequence[Interval]) -> float:
    """Return the least share of the time for which any rank waits for others."""
    shares = []
    for rank in set().union(*(set(each) for each in intervals)):
        kinds = sum((Counter(each.get(rank, {})) for each in intervals), Counter[str]())
        if number := sum(kinds.values()):
            shares.append(kinds[_WAIT] / number)
    return min(shares, default=0.0)


def _excess(samples: Interval, rank: int, kind: str) -> float:
    """Return the share of the time for which a rank does this more than nearly all others."""
    shares = {r: kinds.get(kind, 0) / max(1, sum(kinds.values())) for r, kinds in samples.items()}
    return shares.pop(rank) - _upper(list(shares.values()))


def _excess_among(interval: Interval, ranks: Sequence[int], rank: int, kind: str) -> float:
    return _excess({each: interval[each] for each in ranks}, rank, kind)


def _more_than_usual(
    intervals: Sequence[Interval], ranks: Sequence[int], rank: int, kind: str
) -> float:
    """Return the share of the time for which a rank does this more than a middle one of the others."""
    shares = {}
    for each in ranks:
        number = sum(sum(interval[each].values()) for interval in intervals)
        shares[each] = sum(interval[each].get(kind, 0) for interval in intervals) / max(1, number)
    return shares.pop(rank) - statistics.median(shares.values())


def _upper(values: Sequence[float]) -> float:
    """Return the highest of up to seven values; of more, one that a quarter exceeds."""
    ordered = sorted(values)
    return ordered[-1] if len(ordered) < 8 else ordered[(3 * len(ordered)) // 4]


def _noise(one: float, other: float, number: int) -> float:
    """Return the standard deviation of the difference of two shares of `number` samples each."""
    return float(((one * (1 - one) + other * (1 - other)) / number) ** 0.5)


# -- by stacks ---------------------------------------------------------------------------------


class Confirmation:
    """Whether the others wait for a suspect again and again, and where it is then: from snapshots."""

    def __init__(self) -> None:
        self._taken = 0
        self._alone: Counter[int] = (
            Counter()
        )  # snapshots in which nearly all others wait for the rank
        self._episodes: Counter[int] = Counter()
        self._last: set[int] = set()
        self._places: dict[int, Counter[tuple[str, str, int]]] = {}  # by rank, while it is alone
        self._usual: dict[int, Counter[tuple[str, str, int]]] = {}
        self._in_backward: Counter[int] = Counter()

    def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Take in a snapshot of each node."""
        where = {
            process.rank: location
            for snapshot in snapshots
            for process in snapshot.own
            if process.rank is not None and (location := location_of(process.stack)) is not None
        }
        self._taken += 1
        alone = _alone(where)
        for rank in alone:
            self._alone[rank] += 1
            self._episodes[rank] += rank not in self._last
            self._places.setdefault(rank, Counter())[_key(where[rank])] += 1
        for rank, location in where.items():
            self._usual.setdefault(rank, Counter())[_key(location)] += 1
            self._in_backward[rank] += location.may_be_wait
        self._last = alone

    def confirms(self, rank: int) -> bool:
        """Return whether the others often wait for `rank`, and clearly less often for each other."""
        number = self._alone[rank]
        others = [self._alone[other] for other in self._usual if other != rank]
        return (
            self._taken >= _MIN_SNAPSHOTS
            and number >= _MIN_HEADED
            and self._episodes[rank] >= _MIN_EPISODES
            and number >= 3 * _upper(others or [0]) + 2
        )

    def leaves_open(self, suspect: Suspect) -> bool:
        """Return whether its samples are all that counts.

        So it is if there are no stacks, or if it is slow in its backward pass, in which the ranks wait too.
        """
        if suspect.share < _CLEAR_EXCESS:
            return False
        seen = sum(self._usual.get(suspect.rank, Counter()).values())
        return not seen or (suspect.kind == "run" and 2 * self._in_backward[suspect.rank] > seen)

    def place(self, rank: int) -> str:
        """Return where the rank is while the others wait for it: `load (train.py:42)`; empty if unknown."""
        places = self._places.get(rank) or self._usual.get(rank)
        if not places:
            return ""
        calls: dict[tuple[str, str], float] = {}
        for (call, file, _), number in places.items():
            calls[call, file] = calls.get((call, file), 0.0) + number / sum(places.values())
        # Not where the others are as often: all ranks come there at each step.
        others = [each for other, each in self._usual.items() if other != rank]
        for each in others:
            for (call, file, _), number in each.items():
                if (call, file) in calls:
                    calls[call, file] -= number / sum(each.values()) / len(others)
        usual = max(calls, key=lambda key: calls[key])
        lines = Counter({key: number for key, number in places.items() if key[:2] == usual})
        call, file, line = lines.most_common(1)[0][0]
        return str(Location(call, file, line, is_wait=False))


def _alone(where: Mapping[int, Location]) -> set[int]:
    """Return the ranks for which nearly all others wait."""
    waiting = {rank for rank, place in where.items() if place.is_wait or place.may_be_wait}
    if not waiting and len(where) >= 4:  # GPU ranks wait for a collective in other calls
        (usual, _), = Counter(map(str, where.values())).most_common(1)  # fmt: skip
        waiting = {rank for rank, place in where.items() if str(place) == usual}
    outside = where.keys() - waiting
    if not outside or len(waiting) < _MIN_WAITING * (len(where) - 1):
        return set()
    return set(outside)


def _key(location: Location) -> tuple[str, str, int]:
    return location.call, location.file, location.line


# -- by connections ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SlowLink:
    """The network of `nodes` is slow: a round trip takes `rtt` seconds, and `usual` between the others.

    If the run has two nodes, both are named, and `usual` is None.
    """

    nodes: tuple[str, ...]
    rtt: float
    usual: float | None

    def __str__(self) -> str:
        took = f"a round trip takes {_milliseconds(self.rtt)}"
        if self.usual is None:
            return f"the network between them is slow: {took}"
        return f"its network is slow: {took}, and {_milliseconds(self.usual)} between the others"


class RoundTrips:
    """The round trips between nodes, over several reports.

    Of the connections between two nodes, the one that has sent most since the last report counts.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, tuple[int, int]], int] = {}  # bytes sent, by connection
        self._reports: deque[dict[tuple[str, str], tuple[float, float]]] = deque(
            maxlen=_MAX_REPORTS
        )

    def add(self, reports: Mapping[str, Activity]) -> None:
        """Take in a report of each node."""
        names = {path.local: node for node, report in reports.items() for path in report.paths}
        last, self._last = self._last, {}
        most: dict[tuple[str, str], tuple[int, float, float]] = {}
        for node, report in reports.items():
            for path in report.paths:
                key = path.local, path.remote, path.ports
                sent = path.acked - last.get(key, path.acked)
                self._last[key] = path.acked
                other = names.get(path.remote, node)
                first, second = sorted((node, other))
                if other != node and sent > max(_MIN_SENT, most.get((first, second), (0,))[0]):
                    most[first, second] = (sent, path.rtt, path.min_rtt)
        self._reports.append({pair: (rtt, least) for pair, (_, rtt, least) in most.items()})

    def find_slow(self) -> SlowLink | None:
        """Return the node whose connections are slow, and the others' fast; None if there is none."""
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for report in self._reports:
            for pair, each in report.items():
                found.setdefault(pair, []).append(each)
        times = {
            pair: (min(rtt for rtt, _ in each), min(least for _, least in each))
            for pair, each in found.items()
            if len(each) >= _MIN_REPORTS
        }
        if len(times) == 1 == len(found):
            ((pair, (rtt, least)),) = times.items()
            is_slow = rtt > _SLOW_PAIR_RTT or least > _SLOW_PAIR_MIN_RTT
            return SlowLink(pair, rtt, None) if is_slow else None
        for node in sorted({name for pair in times for name in pair}):
            own = [each for pair, each in times.items() if node in pair]
            others = [each for pair, each in times.items() if node not in pair]
            if not others or len(own) < 2:
                continue
            usual = statistics.median(rtt for rtt, _ in others)
            worst = max(rtt for rtt, _ in others)
            slow = all(rtt > _SLOW_RTT or least > _SLOW_MIN_RTT for rtt, least in own)
            rtt = min(rtt for rtt, _ in own)
            if slow and rtt > _TIMES_SLOWER * usual and rtt > 2 * worst:
                return SlowLink((node,), rtt, usual)
        return None


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
