"""Report ranks that the others wait for at each step, and take it back (see decision 56).

The nodes sample their ranks in /proc. If one of them waits less than the others for a while, the stacks of
all ranks are taken some times, irregularly; it is reported if they show that the others wait for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.hangs.snapshot import take_snapshot
from orchestrator.hangs.step_rates import StepRates
from orchestrator.hangs.stragglers import (
    MIN_WAITS,
    Activity,
    Confirmation,
    Interval,
    RoundTrips,
    Suspect,
    find_suspects,
    parse_activity,
    waits_of,
)
from orchestrator.plan import Plan
from orchestrator.util.answers import parse_answer

_INTERVAL = 5.0  # seconds between questions to a node
_MAX_INTERVALS = 8  # that are looked at together
_MIN_INTERVALS, _RECENT = 3, 4
_TIMEOUT = 10.0  # seconds
_MAX_SNAPSHOTS = 24
_SNAPSHOT_PAUSE = 0.6  # seconds between snapshots, on average
_SNAPSHOT_TIMEOUT = 4.0
_MIN_PAUSE, _MAX_PAUSE = 10.0, 300.0  # seconds after a suspicion that was wrong
_CLEARINGS = 3  # questions in a row without a suspicion
_MAX_RANKS_FOR_STACKS = 1024  # of a run whose stacks are taken


class StragglerWatch:
    """Watches the ranks of one attempt; `known` are the stragglers that an earlier controller reported."""

    def __init__(
        self,
        nodes: Sequence[Follower],
        plan: Plan,
        emit: events.Emit,
        known: Iterable[events.Straggling] = (),
    ) -> None:
        self._nodes = nodes
        self._plan = plan
        self._emit = emit
        self._reported = {each.ranks: each for each in known}
        self._clear: dict[tuple[int, ...], int] = dict.fromkeys(self._reported, 0)
        self._last: dict[int, tuple[int, dict[str, int]]] = {}  # pid and samples, by rank
        self._intervals: deque[Interval] = deque(maxlen=_MAX_INTERVALS)
        self._homes: dict[int, str] = {}  # the node of each rank
        self._trips = RoundTrips()
        self._steps = StepRates()
        self._pause = _MIN_PAUSE
        self._quiet_until = 0.0

    def note(self, event: events.Event) -> None:
        """Take in an event of the run: output has step numbers."""
        if isinstance(event, events.Output) and event.stream.rank is not None and not event.hole:
            self._steps.note(event.stream.rank, event.data, event.time)

    async def watch(self) -> None:
        """Watch until all nodes are asked to stop."""
        asks_paths = False
        while True:
            await asyncio.sleep(_INTERVAL)
            active = [node for node in self._nodes if not node.has_ended and node.gone is None]
            if not active or any(node.state.stopped_at is not None for node in active):
                return
            reports = await self._ask(active, paths=asks_paths)
            if reports is None or not self._take(reports):
                self._intervals.clear()
                self._trips = RoundTrips()
                continue
            self._steps.advance()
            if asks_paths:
                self._trips.add(reports)
            recent = list(self._intervals)
            # The latest too, since the ranks may have begun to step only now.
            latest = find_suspects(recent[-_RECENT:]) if len(recent) >= _MIN_INTERVALS else []
            suspects = latest or (find_suspects(recent) if len(recent) > _RECENT else [])
            self._take_back(latest if len(recent) >= _RECENT else None)
            asks_paths = len(recent) >= _MIN_INTERVALS and waits_of(recent) > MIN_WAITS
            if not asks_paths:
                self._trips = RoundTrips()
            if not await self._check_suspects(suspects, len(recent)):
                self._check_network()
                self._check_steps()

    # -- what the nodes report -----------------------------------------------------------------

    async def _ask(self, nodes: Sequence[Follower], *, paths: bool) -> dict[str, Activity] | None:
        """Return the report of each node; None if one does not answer."""

        async def ask_one(node: Follower) -> Activity | None:
            if not node.connection.is_up:
                return None
            try:
                answer = await node.ask("activity", timeout=_TIMEOUT, paths=paths)
                return parse_answer(node.name, "activity", parse_activity, answer)
            except NodeError:  # `follow` reports lost connections
                return None

        answers = await asyncio.gather(*(ask_one(node) for node in nodes))
        found = {n.name: each for n, each in zip(nodes, answers, strict=True) if each is not None}
        return found if len(found) == len(nodes) else None

    def _take(self, reports: dict[str, Activity]) -> bool:
        """Add what the ranks did since the last reports; return whether they are the same ranks."""
        ranks, homes = {}, {}
        assigned = {node.name: node.state.ranks for node in self._nodes}
        for node, report in reports.items():
            for each in report.ranks:
                if each.rank in assigned[node]:  # else another node's, which a node cannot report
                    ranks[each.rank] = (each.pid, dict(each.kinds))
                    homes[each.rank] = node
        last, self._last, self._homes = self._last, ranks, homes
        if {rank: pid for rank, (pid, _) in last.items()} != {
            rank: pid for rank, (pid, _) in ranks.items()
        }:
            return False
        interval = {}
        for rank, (_, kinds) in ranks.items():
            before = last[rank][1]
            new = {kind: number - before.get(kind, 0) for kind, number in kinds.items()}
            if any(number < 0 for number in new.values()):
                return False  # another agent answers
            interval[rank] = new
        self._intervals.append(interval)
        return True

    # -- what follows --------------------------------------------------------------------------

    async def _check_suspects(self, suspects: Sequence[Suspect], intervals: int) -> bool:
        """Confirm suspects by their stacks and report them; return whether there are any."""
        known = {rank for ranks in self._reported for rank in ranks}
        new = [suspect for suspect in suspects if suspect.rank not in known]
        if not new or time.monotonic() < self._quiet_until:
            return bool(suspects)
        confirmation = Confirmation()
        confirmed: list[Suspect] = []
        if len(self._homes) <= _MAX_RANKS_FOR_STACKS:
            for _ in range(_MAX_SNAPSHOTS):
                await self._take_snapshots(confirmation)
                confirmed = [each for each in new if confirmation.confirms(each.rank)]
                if confirmed:
                    break
                await asyncio.sleep(_SNAPSHOT_PAUSE * random.uniform(0.5, 1.5))
        if not confirmed and intervals == _MAX_INTERVALS:
            confirmed = [each for each in new if confirmation.leaves_open(each)]
        if confirmed:
            self._report_suspects(confirmed, confirmation)
            self._pause = _MIN_PAUSE
        elif intervals == _MAX_INTERVALS or not any(map(confirmation.leaves_open, new)):
            self._quiet_until = time.monotonic() + self._pause
            self._pause = min(_MAX_PAUSE, 2 * self._pause)
        return True

    async def _take_snapshots(self, confirmation: Confirmation) -> None:
        """Add a snapshot of every node, unless one does not answer."""
        nodes = [node for node in self._nodes if node.name in set(self._homes.values())]
        try:
            snapshots = await asyncio.gather(
                *(
                    take_snapshot(
                        node.connection.agent, self._plan.run, node.name,
                        limit=_SNAPSHOT_TIMEOUT, brief=True,
                    )
                    for node in nodes
                )
            )  # fmt: skip
        except NodeError:
            return
        confirmation.add(snapshots)

    def _report_suspects(self, suspects: Sequence[Suspect], confirmation: Confirmation) -> None:
        """Report suspects; those of one node that do the same together."""
        groups: dict[tuple[str, str, str], list[Suspect]] = {}
        for suspect in suspects:
            place = confirmation.place(suspect.rank)
            groups.setdefault((self._homes[suspect.rank], suspect.kind, place), []).append(suspect)
        for (node, kind, place), members in groups.items():
            share = min(member.share for member in members)
            rate = self._steps.usual()
            self._report(
                events.Straggling(
                    tuple(sorted(member.rank for member in members)), (node,), kind,
                    members[0].does, share, share / rate if rate else None, place,
                )
            )  # fmt: skip

    def _check_network(self) -> None:
        slow = self._trips.find_slow()
        if slow is None:
            return
        ranks = tuple(sorted(rank for rank, node in self._homes.items() if node in slow.nodes))
        share = waits_of(list(self._intervals))
        self._report(events.Straggling(ranks, slow.nodes, "network", str(slow), share, None, ""))

    def _check_steps(self) -> None:
        slow = self._steps.find_slow(len(self._homes))
        if slow is not None and slow.rank in self._homes:
            share = 1 - slow.rate / slow.usual
            home = (self._homes[slow.rank],)
            self._report(events.Straggling((slow.rank,), home, "steps", str(slow), share, None, ""))

    def _report(self, straggling: events.Straggling) -> None:
        self._clear[straggling.ranks] = 0
        if straggling.ranks not in self._reported:
            self._reported[straggling.ranks] = straggling
            self._emit(straggling)

    def _take_back(self, suspects: Sequence[Suspect] | None) -> None:
        """Take back what no longer holds, for some questions in a row; None: that is not known."""
        if suspects is None:
            return
        seen = {suspect.rank for suspect in suspects}
        slow_steps = self._steps.find_slow(len(self._homes))
        slow_link = self._trips.find_slow()
        for ranks, straggling in list(self._reported.items()):
            if straggling.kind == "network":
                holds = slow_link is not None and slow_link.nodes == straggling.nodes
            elif straggling.kind == "steps":
                holds = slow_steps is not None and slow_steps.rank in ranks
            else:
                holds = bool(seen & set(ranks))
            self._clear[ranks] = 0 if holds else self._clear[ranks] + 1
            if self._clear[ranks] >= _CLEARINGS:
                del self._reported[ranks], self._clear[ranks]
                self._emit(events.CaughtUp(ranks, straggling.nodes))
