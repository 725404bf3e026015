"""The use case: a shell, or one command, on one node, for a person at a terminal.

connect -> a session with a terminal like the person's -> its exit code
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator import events
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.pipeline.connect import connect
from orchestrator.plan import NodePlan
from orchestrator.plan.masking import MASK
from orchestrator.remote.base import Screen, TerminalChannel, TerminalNode, Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.util.quoting import command_line

DISCONNECTED = 255
"""What ssh exits with, too, when its connection ends before the command."""


class Person(Protocol):
    """Who sits here: what they type, what they see, and the terminal that it is, if it is one."""

    @property
    def screen(self) -> Screen | None: ...

    async def read(self) -> bytes:
        """Return what was typed; b"" at the end, or when they leave."""

    async def write(self, data: bytes) -> None:
        """Show it."""

    def on_resize(self, tell: Callable[[int, int], None]) -> None:
        """Have the columns and lines of the terminal told when they change."""

    @property
    def has_left(self) -> bool:
        """Whether they want to hang up."""


async def interact(
    host: Host,
    transport: Transport,
    script: str | None,
    person: Callable[[], Person],
    emit: events.Emit,
    interrupts: Interrupts,
) -> int:
    """Run `script` (None: the login shell) on `host` for a person, and return its exit code.

    `person` is asked for when the node is reached. Raises ConnectError when it cannot be, NodeError when
    the connection breaks.
    """
    fleet = Fleet([host], transport)
    try:
        await interrupts.abort(connect(fleet, emit))
        (node,) = fleet.nodes
        if not isinstance(node, TerminalNode):
            raise UsageError(
                f"{node.name}: transport {transport.name} has no terminal for a shell",
                remedy="run single commands: orch exec -- CMD",
            )
        someone = person()
        if someone.screen is None:  # nothing to bring the two streams together
            script = f"exec 2>&1\n{script or script_for(())}"
        channel = await node.open_terminal(script, someone.screen)
        try:
            return await _converse(channel, someone, interrupts)
        finally:
            channel.close()
    finally:
        await fleet.close()


def script_for(argv: Sequence[str], folder: str = "", environment: Mapping[str, str] = {}) -> str:
    """Return what runs `argv` (empty: the login shell) in a folder (empty: the home) and an environment.

    Where there is no such folder, a shell begins at home, and a command does not. Raises ValueError for
    words that no shell can take.
    """
    lines = []
    if folder:
        lines.append(command_line(["cd", "--", folder]) + (" || exit 125" if argv else ""))
    lines += [command_line(["export", f"{name}={value}"]) for name, value in environment.items()]
    lines.append(f"exec {command_line(argv)}" if argv else 'exec "${SHELL:-/bin/sh}"')
    return "\n".join(lines)


def environment_of(node: NodePlan) -> tuple[dict[str, str], list[str]]:
    """Return what a node's ranks have in their environment, and the names whose values are on no disk."""
    known = {name: value for name, value in node.environment.items() if MASK not in value}
    return known, sorted(node.environment.keys() - known.keys())


async def _converse(channel: TerminalChannel, person: Person, interrupts: Interrupts) -> int:
    """Hand on what is typed and shown until the command ends, or the person leaves, or we are ended."""

    async def hand_on() -> None:
        while data := await person.read():
            await channel.write(data)
        if not person.has_left:
            channel.write_eof()
            await asyncio.Event().wait()

    async def show() -> int:
        while data := await channel.read():
            await person.write(data)
        return await channel.wait()

    person.on_resize(channel.resize)
    typing, showing = asyncio.create_task(hand_on()), asyncio.create_task(show())
    ending = asyncio.create_task(interrupts.wait(1))
    tasks: tuple[asyncio.Task[Any], ...] = (typing, showing, ending)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            return showing.result()
        if ending.done():
            return 128 + (interrupts.signal or 0)
        typing.result()
        return DISCONNECTED
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
