"""Talk to orch's agent on a node: bring it there, ask its verbs, follow a run.

The protocol is described in `node/serve.py`. One agent process per connection answers everything.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.quoting import home_path
from orchestrator.remote import reports
from orchestrator.remote.base import Channel, Node
from orchestrator.remote.package import node_package

_FOLDER = ".local/state/orch/node"
# Isolated from what the environment does to Python; words are UTF-8 whatever the node's locale.
_FLAGS = "-IS -X utf8"
_ABSENT = b"absent\n"
_LONGEST_LINE = 4 << 20
_LARGEST_PAYLOAD = 1 << 20
_QUEUED_CHUNKS = 8
_ANSWER_TIME = 30.0
_END_TIME = 5.0
_GIVE_UP_TIME = 1.0

Report = reports.Report


class Agent:
    """orch's agent on one node, over the connection that is already open."""

    def __init__(self, node: Node, channel: Channel) -> None:
        self.node = node
        self._channel = channel
        self._next = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._follows: dict[int, asyncio.Queue[Report | NodeError | None]] = {}
        self._failure: NodeError | None = None
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, node: Node, *, timeout: float = _ANSWER_TIME) -> Agent:
        """Start the agent on `node` with its inventory's Python, uploading it where it is missing.

        Raises NodeError, with the remedy, when it does not answer within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                channel = await node.open(_start_script(node.host.python))
                first = await channel.readline()
                if first == _ABSENT:
                    channel.close()
                    await _upload(node, timeout)
                    channel = await node.open(_start_script(node.host.python))
                    first = await channel.readline()
                if not first.startswith(b'{"hello"'):
                    raise await _explain_no_hello(node, channel)
        except TimeoutError:
            raise NodeError(
                f"{node.name}: no answer from {node.host.python} within {timeout:g} s",
                remedy=f"log in and try: {node.host.python} -c 'print(1)'",
            ) from None
        agent = cls(node, channel)
        agent._reader = asyncio.create_task(agent._read(), name=f"agent {node.name}")
        return agent

    @property
    def has_failed(self) -> bool:
        """Whether the connection or the agent has broken off."""
        return self._failure is not None

    async def ask(self, verb: str, *, timeout: float = _ANSWER_TIME, **arguments: Any) -> Any:
        """Return the node's answer to `verb`.

        Raises NodeError when it cannot be carried out, or no answer comes within `timeout` seconds.
        """
        return await self._ask(self._number(), verb, timeout, arguments)

    @asynccontextmanager
    async def during(
        self, verb: str, *, timeout: float = _ANSWER_TIME, limit: float, **arguments: Any
    ) -> AsyncIterator[Any]:
        """Have the node do `verb`, a task that goes on after its answer, while the context lasts.

        Yields the answer; the task is gone when the context ends, and after `limit` seconds anyhow.
        Raises NodeError as `ask` does.
        """
        number = self._number()
        try:
            yield await self._ask(number, verb, timeout, {"limit": limit, **arguments})
        finally:
            with suppress(NodeError):  # an agent that does not answer ends, and its tasks with it
                await self.ask("end", task=number, timeout=_END_TIME)

    async def _ask(self, number: int, verb: str, timeout: float, arguments: dict[str, Any]) -> Any:
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._send({"id": number, "verb": verb, **arguments})
                return await answer
        except TimeoutError:
            raise NodeError(
                f"{self.node.name}: no answer to {verb!r} within {timeout:g} s"
            ) from None
        finally:
            self._answers.pop(number, None)

    async def follow(
        self, run: str, offsets: dict[str, int], *, quiet: bool = False
    ) -> AsyncGenerator[Report, None]:
        """Yield what `run` does on this node, from `offsets` (path -> bytes already had), to its end.

        A `quiet` one tells of ranks and the supervisor only, no bytes. Raises NodeError when the
        connection or the agent breaks off.
        """
        number = self._number()
        queue = self._follows[number] = asyncio.Queue(_QUEUED_CHUNKS)
        goes_on = True
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
                    goes_on = False
                    raise report
                yield report
            goes_on = False
        finally:
            del self._follows[number]
            while not queue.empty():
                queue.get_nowait()  # else what is read next would wait for room in it, and all with it
            if goes_on:
                await self._give_up(number)

    async def _give_up(self, number: int) -> None:
        """Have the node do no more for the request of this number; a node that is away does not anyhow."""
        with suppress(NodeError, TimeoutError):
            async with asyncio.timeout(_GIVE_UP_TIME):
                await self._send({"id": self._number(), "verb": "end", "task": number})

    async def close(self) -> None:
        """Hang up; a run that the agent started goes on."""
        self._channel.write_eof()
        self._channel.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def _number(self) -> int:
        self._next += 1
        return self._next

    async def _send(self, request: dict[str, Any]) -> None:
        if self._failure is not None:
            raise self._failure
        await self._channel.write(json.dumps(request).encode() + b"\n")

    async def _read(self) -> None:
        try:
            while line := await self._channel.readline(_LONGEST_LINE):
                header = json.loads(line)
                payload = b""
                if "n" in header:
                    if not 0 <= header["n"] <= _LARGEST_PAYLOAD:
                        raise ValueError("a chunk of absurd size")
                    payload = await self._channel.readexactly(header["n"])
                await self._dispatch(header, payload)
            failure = NodeError(f"{self.node.name}: the agent ended", remedy=self._last_words())
        except asyncio.IncompleteReadError:
            failure = NodeError(
                f"{self.node.name}: the agent ended in the middle of a report",
                remedy=self._last_words(),
            )
        except NodeError as error:
            failure = error
        except (
            Exception
        ) as error:  # whatever it was that the node sent, whoever waits must hear of it
            failure = NodeError(f"{self.node.name}: the agent sent something else: {error!r}")
        self._failure = failure
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(failure)
        for queue in list(self._follows.values()):  # who has waited may leave meanwhile
            await queue.put(failure)

    async def _dispatch(self, header: dict[str, Any], payload: bytes) -> None:
        number = header["id"]
        queue = self._follows.get(number)
        if queue is not None:
            if "error" in header:
                await queue.put(NodeError(f"{self.node.name}: {header['error']}"))
            elif "ok" in header:
                await queue.put(None)
            else:
                await queue.put(reports.parse(header, payload))
            return
        answer = self._answers.get(number)
        if answer is None or answer.done():
            return  # it was waited for long enough
        if "error" in header:
            answer.set_exception(
                AgentRefusal(self.node.name, str(header["error"]), header.get("errno"))
            )
        else:
            answer.set_result(header["ok"])

    def _last_words(self) -> str | None:
        return _tail(self._channel.stderr) or None


class AgentRefusal(NodeError):
    """The agent could not carry out a verb; `errno` is the operating system's number, if it was that."""

    def __init__(self, node: str, text: str, errno: int | None) -> None:
        super().__init__(f"{node}: {text}")
        self.text = text
        self.errno = errno


def _start_script(python: str) -> str:
    return (
        f'p="$HOME/{_FOLDER}/{node_package().name}"; [ -r "$p" ] || {{ echo absent; exit 0; }}; '
        f'exec {home_path(python)} {_FLAGS} "$p" serve'
    )


async def _upload(node: Node, timeout: float) -> None:
    package = node_package()
    script = (
        f'umask 077; d="$HOME/{_FOLDER}"; t="$d/{package.name}.{secrets.token_hex(8)}.tmp"; '
        f'mkdir -p "$d" && cat > "$t" && mv -f "$t" "$d/{package.name}" || exit 1; '
        # Compiled once, it starts in half the time. Where that fails, `serve` will say why.
        f'{home_path(node.host.python)} {_FLAGS} "$d/{package.name}" compile 2>/dev/null || true'
    )
    done = await node.run(script, input=package.data, timeout=timeout)
    if done.exit_code != 0:
        raise NodeError(
            f"{node.name}: orch's agent cannot be written to ~/{_FOLDER}: {_tail(done.stderr)}",
            remedy="orch needs a home directory that can be written, with a little room",
        )


async def _explain_no_hello(node: Node, channel: Channel) -> NodeError:
    code = await channel.wait()
    python = node.host.python
    if code in (126, 127):
        return NodeError(
            f"{node.name}: there is no Python at {python!r}: {_tail(channel.stderr)}",
            remedy="set `python:` in the inventory to its absolute path on that node "
            "(a non-interactive shell has no conda or virtual environment)",
        )
    version = await node.run(f"{home_path(python)} -V 2>&1")
    return NodeError(
        f"{node.name}: {python} ({_tail(version.stdout) or 'no version'}) cannot run orch's agent: "
        f"{_tail(channel.stderr)}",
        remedy="orch needs Python 3.8 or later on a node",
    )


def _tail(text: bytes, limit: int = 300) -> str:
    """Return the last words of what a node wrote, harmless to a terminal."""
    shown = text.decode("utf-8", "replace").strip()[-limit:]
    return "".join(c if c.isprintable() else " " for c in shown)


__all__ = ["Agent", "AgentRefusal"]
