"""Ask the node of a failed rank what may explain its end, as soon as it has failed.

What explains it may soon be gone: a full disk is cleared, a port becomes free, other ranks end. So the
first question is asked when the failure is found, while the run is being stopped; the verdict asks again
only what it lacks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.follower import Follower
from orchestrator.control.node_evidence import NodeEvidence, fetch_evidence
from orchestrator.errors import NodeError
from orchestrator.plan import Plan
from orchestrator.remote.reports import RankReport
from orchestrator.util.log import logger

if TYPE_CHECKING:  # slow to import, and a run that succeeds does not need it
    from orchestrator.control.looks.model import Subject

_EVIDENCE_TIMEOUT = 8.0  # seconds a node has to report why a rank ended
_LOOK_TIME = 5.0  # seconds of them that it may look
_Key = tuple[str, int, int]
_log = logger("inquiry")


class Inquiry:
    """What nodes know about the ranks that failed in one attempt; `logs` are the copies of their output."""

    def __init__(self, logs: Path, followers: Sequence[Follower]) -> None:
        self._logs = logs
        self._followers = {node.name: node for node in followers}
        self._known: dict[_Key, NodeEvidence] = {}
        self._asking = asyncio.Lock()

    async def begin(self, plan: Plan, failure: FirstFailure) -> None:
        """Ask about a failure that has just been found.

        An error, as in the diagnosis of odd output, must not end the run: the verdict meets and reports it.
        """
        try:
            await self.evidence(plan, failure)
        except Exception:
            _log.exception("%s: the failure could not be looked at", failure.node)

    async def evidence(self, plan: Plan, failure: FirstFailure) -> NodeEvidence:
        """Return what is known about a failure, after asking its node for what is not."""
        node = self._followers.get(failure.node)
        rank = None if node is None or failure.rank is None else node.state.ranks.get(failure.rank)
        if node is None or rank is None or rank.end is None:
            return NodeEvidence()
        key = (failure.node, rank.rank, rank.attempt)
        async with self._asking:
            known = self._known.get(key)
            is_first = known is None
            known = await self._ask(key, plan, node, failure, rank)
            if is_first and known.error_file is not None:
                # What torch recorded may call for other looks than what was printed.
                known = await self._ask(key, plan, node, failure, rank)
        return known

    def _subject(self, plan: Plan, failure: FirstFailure, known: NodeEvidence) -> Subject | None:
        from orchestrator.control.explain import subject_of

        states = {name: each.state for name, each in self._followers.items()}
        return subject_of(plan, states, failure, self._logs, known)

    async def _ask(
        self, key: _Key, plan: Plan, node: Follower, failure: FirstFailure, rank: RankReport
    ) -> NodeEvidence:
        """Return what is known about the rank, after asking what is not."""
        from orchestrator.control.looks.registry import parse_answers, questions

        known = self._known.get(key)
        subject = await asyncio.to_thread(self._subject, plan, failure, known or NodeEvidence())
        wanted = {} if subject is None else questions(subject)
        missing = {
            name: arguments
            for name, arguments in wanted.items()
            if known is None or name not in known.answers
        }
        about_memory = subject is not None and "memory" in subject.hit.signature.asks
        lacks_log = known is None or (about_memory and known.kernel is None and known.why is None)
        now = time.time()
        base, raw = await asyncio.gather(
            fetch_evidence(node, rank, _EVIDENCE_TIMEOUT, killed=about_memory)
            if lacks_log
            else _nothing(),
            _look(node, missing) if missing else _nothing(),
        )
        if known is None and base is None and raw is None:
            return NodeEvidence()  # the node does not answer: the verdict may ask again
        found = base or known or NodeEvidence()
        if known is not None:
            found = replace(found, answers=known.answers, delay=known.delay)
        else:
            found = replace(found, delay=_since_end(now, node.state, rank))
        if raw is not None:
            found = replace(found, answers={**found.answers, **parse_answers(missing, raw)})
        self._known[key] = found
        return found


async def _nothing() -> None:
    return None


async def _look(node: Follower, probes: Mapping[str, Any]) -> Any:
    """Return the raw answers of probes on the node; None if it does not answer."""
    try:
        return await node.connection.agent.ask(
            "check", timeout=_EVIDENCE_TIMEOUT, limit=_LOOK_TIME, probes=probes
        )
    except NodeError:
        return None


def _since_end(now: float, node: NodeState, rank: RankReport) -> float:
    ended = now if rank.ended is None else rank.ended - node.clock_skew
    return max(0.0, now - ended)
