"""A follower of a fake node, and what it emits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.runs.record import Record
from tests.runs.fakes import FakeAgent, FakeConnection

OUT, ERR = "attempt-0/rank-0.out", "attempt-0/rank-0.err"


class Followed:
    """A follower of n0, and the events that it has emitted."""

    def __init__(self, record: Record, connection: FakeConnection) -> None:
        self.emitted: list[events.Event] = []
        self.news = 0
        self.follower = Follower(
            record.plan.nodes[0], cast(Any, connection), record, self.emitted.append, self._on_news
        )

    def _on_news(self) -> None:
        self.news += 1

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.emitted if isinstance(event, kind)]

    def shown(self, path: str = OUT) -> bytes:
        """Return the output of a file that was emitted; each byte must come once and in order."""
        shown = b""
        for event in self.of(events.Output):
            if event.stream.path == path:
                assert event.offset == len(shown)
                shown += event.data
        return shown


async def follow(
    record: Record, agent: FakeAgent, connection: FakeConnection | None = None
) -> Followed:
    """Follow to the end of the run."""
    followed = Followed(record, connection or FakeConnection(agent))
    await asyncio.wait_for(followed.follower.follow(), 5)
    return followed


@asynccontextmanager
async def following(followed: Followed) -> AsyncIterator[Followed]:
    """Follow in the background."""
    task = asyncio.create_task(followed.follower.follow())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def followed_by(record: Record, **answers: Any) -> Followed:
    """Return a follower of a node that gives these answers."""
    return Followed(record, FakeConnection(FakeAgent(answers=answers)))
