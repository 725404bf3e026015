"""The use case: run a shell, or one command, on one node, at the user's terminal.

connect -> a session with a terminal of the same kind and size -> its exit code
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator import events
from orchestrator.api.hosts import HostOptions, Note, open_hosts
from orchestrator.api.job import project_here
from orchestrator.api.selection import find_run, nodes_of
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.pipeline.connect import connect
from orchestrator.plan import NodePlan
from orchestrator.plan.masking import MASK
from orchestrator.remote.base import Screen, TerminalChannel, TerminalNode, Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.connections import connections_to
from orchestrator.util.quoting import command_line

DISCONNECTED = 255
"""The exit code after a hangup of the terminal; ssh uses the same when its connection ends."""


@dataclass(frozen=True)
class Session:
    """What runs on which host, over which transport; `script` None is the login shell."""

    host: Host
    transport: Transport
    script: str | None = None


class Terminal(Protocol):
    """The input and output of the user."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines; None if it is not a terminal."""

    @property
    def has_left(self) -> bool:
        """Whether the terminal has hung up."""

    async def read(self) -> bytes:
        """Return what was typed; b"" at the end of the input, or after a hangup."""

    async def write(self, data: bytes) -> None:
        """Show output."""

    def on_resize(self, tell: Callable[[int, int], None]) -> None:
        """Report the columns and lines when they change."""


@asynccontextmanager
async def host_session(
    options: HostOptions,
    argv: Sequence[str],
    *,
    in_workdir: bool = False,
    note: Note | None = None,
) -> AsyncIterator[Session]:
    """Yield a session that runs `argv` (empty: the login shell) on the selected host.

    With `in_workdir`, it starts in the folder that a launch from here would use. Raises UsageError.
    """
    async with open_hosts(options, note=note) as (inventory, transport):
        if len(inventory.hosts) != 1:
            raise UsageError(
                f"{options.get('nodes') or 'the inventory'} is {len(inventory.hosts)} nodes, "
                "and a terminal is on one",
                remedy=f"name one of them, such as {inventory.hosts[0].name}",
            )
        folder = ""
        if in_workdir:
            from orchestrator.api.execute import find_folders

            (folder,) = await find_folders(inventory, project_here(), transport)
        script = _script(argv, folder) if argv or folder else None
        yield Session(inventory.hosts[0], transport, script)


@asynccontextmanager
async def run_session(
    run: str, node: str, argv: Sequence[str], emit: events.Emit
) -> AsyncIterator[Session]:
    """Yield a session on a node of a run, in its working folder and with the environment of its ranks.

    `emit` gets a warning about variables that are missing. Raises UsageError.
    """
    saved = find_run(run)
    nodes_of(saved.plan, node)
    plan = next((each for each in saved.plan.nodes if each.name == node), None)
    if plan is None:
        raise UsageError(f"{node}: expected one node, not several")
    environment, missing = environment_of(plan)
    if missing:
        emit(events.Warned(f"without {', '.join(missing)}: secret values are not stored"))
    async with connections_to(saved) as (_, transport):
        yield Session(plan.host, transport, _script(argv, plan.cwd, environment))


async def interact(
    session: Session,
    take_terminal: Callable[[], Terminal],
    emit: events.Emit,
    interrupts: Interrupts,
) -> int:
    """Run the session at the user's terminal, which is taken over once the node is connected.

    Returns the exit code. Raises ConnectError if the node cannot be reached, NodeError if the connection
    breaks.
    """
    fleet = Fleet([session.host], session.transport)
    try:
        await interrupts.abort(connect(fleet, emit))
        (node,) = fleet.nodes
        if not isinstance(node, TerminalNode):
            raise UsageError(
                f"{node.name}: transport {session.transport.name} has no terminal for a shell",
                remedy="run single commands: orch exec -- CMD",
            )
        terminal, script = take_terminal(), session.script
        screen = terminal.size and Screen(os.environ.get("TERM") or "dumb", *terminal.size)
        if screen is None:  # no terminal merges the two output streams
            script = f"exec 2>&1\n{script or script_for(())}"
        channel = await node.open_terminal(script, screen)
        try:
            return await _converse(channel, terminal, interrupts)
        finally:
            channel.close()
    finally:
        await fleet.close()


def script_for(argv: Sequence[str], folder: str = "", environment: Mapping[str, str] = {}) -> str:
    """Return the command that runs `argv` (empty: login shell) in a folder (empty: home) and environment.

    If the folder does not exist, a shell starts in the home, and a command does not run. Raises ValueError
    for words that no shell can take.
    """
    lines = []
    if folder:
        lines.append(command_line(["cd", "--", folder]) + (" || exit 125" if argv else ""))
    lines += [command_line(["export", f"{name}={value}"]) for name, value in environment.items()]
    lines.append(f"exec {command_line(argv)}" if argv else 'exec "${SHELL:-/bin/sh}"')
    return "\n".join(lines)


def _script(argv: Sequence[str], folder: str, environment: Mapping[str, str] = {}) -> str:
    try:
        return script_for(argv, folder, environment)
    except ValueError as error:
        raise UsageError(f"the command cannot be sent: {error}") from None


def environment_of(node: NodePlan) -> tuple[dict[str, str], list[str]]:
    """Return the environment of a node's ranks, and the names of variables with masked values."""
    known = {name: value for name, value in node.environment.items() if MASK not in value}
    return known, sorted(node.environment.keys() - known.keys())


async def _converse(channel: TerminalChannel, terminal: Terminal, interrupts: Interrupts) -> int:
    """Pass on input and output until the command ends, the terminal hangs up, or an interrupt comes."""

    async def send() -> None:
        while data := await terminal.read():
            await channel.write(data)
        if not terminal.has_left:
            channel.write_eof()
            await asyncio.Event().wait()

    async def show() -> int:
        while data := await channel.read():
            await terminal.write(data)
        return await channel.wait()

    terminal.on_resize(channel.resize)
    sending, showing = asyncio.create_task(send()), asyncio.create_task(show())
    ending = asyncio.create_task(interrupts.wait(1))
    tasks: tuple[asyncio.Task[Any], ...] = (sending, showing, ending)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            return showing.result()
        if ending.done():
            return 128 + (interrupts.signal or 0)
        sending.result()
        return DISCONNECTED
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
