"""Talk to orch's agent on a node: upload it, send requests, follow a run.

The protocol is described in `node/serve.py`. One agent process serves the whole connection.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.remote import reports
from orchestrator.remote.base import Channel, Node
from orchestrator.remote.start_agent import start_agent, tail
from orchestrator.util.answers import count
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable

_LONGEST_LINE = 4 << 20
_LARGEST_PAYLOAD = 1 << 19  # bytes; the agent reads this many at a time
_QUEUED_CHUNKS = 4
_TURN = 0.01  # seconds of parsing one node's output before other tasks run
_ANSWER_TIME = 30.0
_END_TIME = 5.0
_GIVE_UP_TIME = 1.0
_LONGEST_REASON = 500

Report = reports.Report


class Agent:
    """orch's agent on one node, over a connection that is already open."""

    def __init__(self, node: Node, channel: Channel) -> None:
        self.node = node
        self._log = node_logger("agent", node.name)
        self._channel = channel
        self._next = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._follows: dict[int, asyncio.Queue[Report | NodeError | None]] = {}
        self._failure: NodeError | None = None
        self._reader: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, node: Node, *, timeout: float = _ANSWER_TIME) -> Agent:
        """Start the agent on `node` with the Python from its inventory; upload it if it is missing.

        Raises NodeError, with the remedy, if it does not answer within `timeout` seconds.
        """
        channel = await start_agent(node, timeout)
        agent = cls(node, channel)
        agent._reader = asyncio.create_task(agent._read(), name=f"agent {node.name}")
        return agent

    @property
    def has_failed(self) -> bool:
        """Whether the connection or the agent has failed."""
        return self._failure is not None

    @property
    def heard_at(self) -> float:
        """When the last bytes arrived, even part of a report (time.monotonic)."""
        return self._channel.heard_at

    async def ask(self, verb: str, *, timeout: float = _ANSWER_TIME, **arguments: Any) -> Any:
        """Return the node's answer to `verb`.

        Raises NodeError if the node cannot carry it out, or does not answer within `timeout` seconds.
        """
        return await self._ask(self._number(), verb, timeout, arguments)

    @asynccontextmanager
    async def run_task(
        self, verb: str, *, timeout: float = _ANSWER_TIME, limit: float, **arguments: Any
    ) -> AsyncIterator[Any]:
        """Run `verb`, a task that continues after its answer, on the node while the context lasts.

        Yields the answer. The task ends with the context, and after `limit` seconds at the latest.
        Raises NodeError as `ask` does.
        """
        number = self._number()
        try:
            yield await self._ask(number, verb, timeout, {"limit": limit, **arguments})
        finally:
            with suppress(NodeError):  # an agent that does not answer ends, with its tasks
                await self.ask("end", task=number, timeout=_END_TIME)

    async def _ask(self, number: int, verb: str, timeout: float, arguments: dict[str, Any]) -> Any:
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                sent = await self._send({"id": number, "verb": verb, **arguments})
                self._log.debug("%s (request %d) sent: %d bytes", verb, number, sent)
                result, size = await answer
            took = time.monotonic() - began
            self._log.debug(
                "%s (request %d) answered in %.3f s: %d bytes", verb, number, took, size
            )
            return result
        except TimeoutError:
            self._log.info("no answer to %s (request %d) within %g s", verb, number, timeout)
            raise NodeError(self.node.name, f"no answer to {verb!r} within {timeout:g} s") from None
        finally:
            self._answers.pop(number, None)

    async def follow(
        self, run: str, offsets: dict[str, int], *, quiet: bool = False
    ) -> AsyncGenerator[Report, None]:
        """Yield the reports on `run` from this node, from `offsets` (path -> bytes already received).

        If `quiet`, reports cover only ranks and the supervisor, no bytes. Raises NodeError if the
        connection or the agent fails.
        """
        number = self._number()
        self._log.debug(
            "follow (request %d) of run %s from byte %d", number, run, sum(offsets.values())
        )
        queue = self._follows[number] = asyncio.Queue(_QUEUED_CHUNKS)
        keeps_open = True
        try:
            await self._send(
                {
                    "id": number,
                    "verb": "follow",
                    "run": run,
                    "node": self.node.name,
                    "offsets": offsets,
                    "quiet": quiet,
                }
            )
            while (report := await queue.get()) is not None:
                if isinstance(report, NodeError):
                    keeps_open = False
                    raise report
                yield report
            keeps_open = False
        finally:
            del self._follows[number]
            while not queue.empty():
                queue.get_nowait()  # a full queue would block the reader, and so every other request
            if keeps_open:
                await self._give_up(number)

    async def _give_up(self, number: int) -> None:
        """Cancel the request with this number on the node, if the node is connected."""
        with suppress(NodeError, TimeoutError):
            async with asyncio.timeout(_GIVE_UP_TIME):
                await self._send({"id": self._number(), "verb": "end", "task": number})

    async def abandon(self, why: str) -> None:
        """Treat the agent as failed, so that all waiting callers fail; it may be hanging."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._failure is None:
            await self._fail(NodeError(self.node.name, why))

    async def close(self) -> None:
        """Close the connection; a run that the agent started continues."""
        self._channel.write_eof()
        self._channel.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        for writing in self._writing:
            writing.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    def _number(self) -> int:
        self._next += 1
        return self._next

    async def _send(self, request: dict[str, Any]) -> int:
        """Send the request; return its size in bytes."""
        if self._failure is not None:
            raise self._failure
        line = json.dumps(request).encode() + b"\n"
        writing = asyncio.create_task(self._write(line))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        # Half a request would corrupt the next one: it is written in full even if the caller is cancelled.
        await asyncio.shield(writing)
        return len(line)

    async def _write(self, line: bytes) -> None:
        async with self._one_at_a_time:  # a large request is sent in pieces
            await self._channel.write(line)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + _TURN
        try:
            while line := await self._channel.readline(_LONGEST_LINE):
                header = _header(line)
                payload = b""
                if "n" in header:
                    payload = await self._channel.readexactly(count(header["n"], _LARGEST_PAYLOAD))
                await self._dispatch(header, payload, len(line))
                if loop.time() >= turn_ends:  # reading buffered data never yields to other tasks
                    await asyncio.sleep(0)
                    turn_ends = loop.time() + _TURN
            failure = NodeError(self.node.name, "the agent ended", remedy=self._last_words())
        except asyncio.IncompleteReadError:
            failure = NodeError(
                self.node.name,
                "the agent ended in the middle of a report",
                remedy=self._last_words(),
            )
        except NodeError as error:
            failure = error
        except Exception as error:  # any error must reach the waiting callers
            said = printable(f"{type(error).__name__}: {error}")
            failure = NodeError(
                self.node.name,
                f"the agent sent what is no message of an agent: {said}",
                remedy=f"see that `python:` of {self.node.name} in the inventory is an interpreter that "
                "prints nothing by itself",
            )
        await self._fail(failure)

    async def _fail(self, failure: NodeError) -> None:
        self._failure = failure
        self._log.info("broke off: %s", failure.text)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(failure)
        for queue in list(self._follows.values()):  # a waiting follow may end meanwhile
            await queue.put(failure)

    async def _dispatch(self, header: dict[str, Any], payload: bytes, size: int) -> None:
        number = count(header["id"])
        queue = self._follows.get(number)
        if queue is not None:
            if "error" in header:
                await queue.put(AgentRefusal.parse(self.node.name, header))
            elif "ok" in header:
                await queue.put(None)
            else:
                await queue.put(reports.parse(header, payload))
            return
        answer = self._answers.get(number)
        if answer is None or answer.done():
            return  # the time limit has passed
        if "error" in header:
            refusal = AgentRefusal.parse(self.node.name, header)
            self._log.debug("request %d refused: %s", number, refusal.text)
            answer.set_exception(refusal)
        else:
            answer.set_result((header["ok"], size))

    def _last_words(self) -> str | None:
        return tail(self._channel.stderr) or None


class AgentRefusal(NodeError):
    """The agent could not carry out a verb; `errno` is that of the operating system, if any."""

    def __init__(self, node: str, text: str, errno: int | None) -> None:
        super().__init__(node, text)
        self.errno = errno

    @classmethod
    def parse(cls, node: str, answer: dict[str, Any]) -> AgentRefusal:
        """Return the refusal from an answer with an "error"."""
        errno = answer.get("errno")
        said = printable(str(answer["error"]), _LONGEST_REASON)
        return cls(node, said, errno if type(errno) is int else None)


def _header(line: bytes) -> dict[str, Any]:
    """Parse a line from an agent as a JSON object. Raises ValueError or RecursionError if invalid."""
    header = json.loads(line, parse_constant=_refuse)
    if not isinstance(header, dict):
        raise ValueError(f"not an object: {header!r:.100}")
    return header


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


__all__ = ["Agent", "AgentRefusal"]
