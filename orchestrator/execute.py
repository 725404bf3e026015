"""The use case: one command on every node at once, over connections that are opened for it.

connect -> run -> how it ended on each node
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.quoting import command_line
from orchestrator.reach import connect
from orchestrator.remote.base import Node
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.interrupts import Interrupts

OnOutput = Callable[[str, bytes], Awaitable[None]]
"""Told the node's name and bytes that its command wrote; the command waits while this does."""

# Closing a channel ends no process. But the standard input of this script ends with the channel, however
# that comes about, and then the part in braces ends the command and all of its process group: sshd makes
# the script the leader of one (where it is not, there is no such group and nothing is killed). Standard
# input is kept as 3, since sh gives a command in the background /dev/null. That part is born deaf to HUP:
# one that comes before it first runs must not end it.
_SCRIPT = """exec 3<&0 </dev/null 2>&1
trap '' HUP
{{
    read -r nothing
    trap '' TERM; kill -TERM -$$; sleep 3; kill -KILL -$$
}} <&3 >/dev/null 2>&1 &
trap - HUP
( {command} ) 3<&-
code=$?; kill $!; exit $code
"""


@dataclass(frozen=True)
class CommandEnd:
    """How the command ended on a node: its exit code, or (None) why that is not known."""

    node: str
    exit_code: int | None
    problem: str | None = None


@dataclass(frozen=True)
class Execution:
    """How the command ended on all nodes, in their order; `stop` is why orch ended it before."""

    ends: tuple[CommandEnd, ...]
    stop: Literal["timed out", "interrupted"] | None = None
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0 when all were 0, else the highest; 124 timed out, 125 a node was lost, 128 + signal."""
        if self.stop == "interrupted":
            return 128 + (self.signal or 0)
        if self.stop == "timed out":
            return 124
        codes = [end.exit_code for end in self.ends]
        known = [code for code in codes if code is not None]
        return LaunchError.exit_code if len(known) < len(codes) else max(known)


async def execute(
    inventory: Inventory,
    argv: Sequence[str],
    options: ConnectOptions,
    on_output: OnOutput,
    emit: events.Emit,
    *,
    timeout: float | None = None,
    interrupts: Interrupts | None = None,
) -> Execution:
    """Run the command `argv` on every node and hand on what it writes, standard error included.

    Its standard input is empty. After `timeout` seconds, or when a person interrupts, it is ended
    everywhere. Raises ConnectError when a node cannot be reached (then it runs nowhere), UsageError
    when no shell can take the command.
    """
    interrupts = interrupts or Interrupts()
    fleet = Fleet(inventory.hosts, options)
    try:
        await interrupts.abort(connect(fleet, emit))
        return await _run_all(fleet.nodes, argv, on_output, timeout, interrupts)
    finally:
        await fleet.close()


async def _run_all(
    nodes: Sequence[Node],
    argv: Sequence[str],
    on_output: OnOutput,
    timeout: float | None,
    interrupts: Interrupts,
) -> Execution:
    running = [asyncio.create_task(_run(node, argv, on_output)) for node in nodes]
    everything: asyncio.Future[list[CommandEnd]] = asyncio.gather(*running)
    stop = asyncio.create_task(interrupts.wait(1))
    try:
        either: list[asyncio.Future[Any]] = [everything, stop]
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            return Execution(tuple(everything.result()))
    finally:
        for task in (*running, stop):
            task.cancel()
        await asyncio.gather(everything, *running, stop, return_exceptions=True)
    ends = [
        CommandEnd(node.name, None, "it had not ended") if task.cancelled() else task.result()
        for node, task in zip(nodes, running, strict=True)
    ]
    interrupted = interrupts.signal is not None
    return Execution(tuple(ends), "interrupted" if interrupted else "timed out", interrupts.signal)


async def _run(node: Node, argv: Sequence[str], on_output: OnOutput) -> CommandEnd:
    try:
        channel = await node.open(_SCRIPT.format(command=command_line(argv)))
    except ValueError as error:
        raise UsageError(f"the command cannot be sent: {error}") from None
    except NodeError as error:
        return CommandEnd(node.name, None, str(error))
    try:
        while data := await channel.read():
            await on_output(node.name, data)
        return CommandEnd(node.name, await channel.wait())
    except NodeError as error:
        return CommandEnd(node.name, None, str(error))
    finally:
        channel.close()
