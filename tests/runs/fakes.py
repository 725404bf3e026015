"""A fake connection to a node, with the answers and files that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.remote.reports import Chunk, Report


class FakeAgent:
    """An agent: each `follow` yields the next of `stories` and raises its errors, as `ask` does.

    A number in a story is a pause in seconds. `files` are sent first, from the requested offsets, at most
    `piece` bytes at a time, unless the follow is quiet.
    """

    def __init__(
        self,
        *stories: list[Report | NodeError | float],
        answers: dict[str, Any] | None = None,
        files: dict[str, bytes] | None = None,
        piece: int = 1000,
    ) -> None:
        self._stories = list(stories)
        self._answers = answers or {}
        self._files = files or {}
        self._piece = piece
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.followed: list[bool] = []
        """Whether each `follow` was quiet."""
        self.heard_at = 0.0
        self.abandoned: list[str] = []
        """The reasons, one for each call."""

    async def ask(self, verb: str, **arguments: Any) -> Any:
        self.asked.append((verb, arguments))
        answer = self._answers.get(verb, NodeError("n0", f"it does not know {verb}"))
        if isinstance(answer, Exception):
            raise answer
        return answer(arguments) if callable(answer) else answer

    async def abandon(self, why: str) -> None:
        self.abandoned.append(why)

    async def follow(
        self, run: str, offsets: dict[str, int], *, quiet: bool = False
    ) -> AsyncIterator[Report]:
        self.followed.append(quiet)
        for path, data in self._files.items():
            for at in range(offsets.get(path, 0), 0 if quiet else len(data), self._piece):
                yield Chunk(path, at, 1.0, data[at : at + self._piece])
        for report in self._stories.pop(0) if self._stories else []:
            if isinstance(report, NodeError):
                raise report
            if isinstance(report, float):
                await asyncio.sleep(report)
            else:
                yield report


class FakeConnection:
    """A connection to `agent`; the first attempts to connect raise `failures`."""

    def __init__(self, agent: FakeAgent, *failures: NodeError, is_up: bool = True) -> None:
        self._agent = agent
        self._failures = list(failures)
        self.is_up = is_up
        self.connections = 0

    @property
    def agent(self) -> FakeAgent:
        if not self.is_up:
            raise NodeError("n0", "not connected")
        return self._agent

    async def connect(self) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.connections += 1
        self.is_up = True

    async def close(self) -> None:
        self.is_up = False


def lost() -> ConnectionLost:
    return ConnectionLost("n0", "the connection broke")


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `holds` returns true. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # a poll interval
