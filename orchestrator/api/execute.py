"""The use case: run one command on all nodes at once, over separate connections.

connect -> find the working folders if asked -> run -> how it ended on each node
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator import events
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import LaunchError, NodeError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.pipeline.connect import connect, connect_all
from orchestrator.pipeline.phase import Phase
from orchestrator.pipeline.transport_needs import require_sessions, require_time_limit
from orchestrator.plan import Job, Network, make_plan
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.remote.base import Node, Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.util.quoting import command_line

OnOutput = Callable[[str, bytes], Awaitable[None]]
"""Gets a node's name and bytes that its command wrote; the command is blocked until it returns."""

# Closing a channel ends no process. But the standard input of this script ends when the channel closes for
# any reason, and then the part in braces ends the command and its process group: sshd makes the
# script the leader of one (if it is not, there is no such group and nothing is killed). Standard input is
# kept as descriptor 3, since sh gives a command in the background /dev/null. The part in braces ignores HUP
# from its start: a HUP that comes before it first runs must not end it.
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
    """How the command ended on a node: its exit code, or None and why it is unknown."""

    node: str
    exit_code: int | None
    problem: NodeError | None = None


@dataclass(frozen=True)
class Execution:
    """How the command ended on all nodes, in their order; `stop` is why orch ended it early."""

    ends: tuple[CommandEnd, ...]
    stop: Literal["timed out", "interrupted"] | None = None
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """The highest exit code; 124 after a timeout, 125 if a node was lost, or 128 + signal."""
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
    transport: Transport,
    on_output: OnOutput,
    emit: events.Emit,
    *,
    project: Job | None = None,
    timeout: float | None = None,
    interrupts: Interrupts | None = None,
) -> Execution:
    """Run the command `argv` on every node and pass on its output, standard error included.

    It runs in the home folder, or in the working folder of the `project`, with empty standard input.
    After `timeout` seconds, or at an interrupt, it is ended on every node. Raises ConnectError if a node
    cannot be reached (then it runs nowhere), UsageError if no shell can take the command, or the transport
    cannot do this.
    """
    require_time_limit(transport, timeout)
    if project is not None:
        require_sessions(transport, "--in-workdir", "name the folder: -- sh -c 'cd DIR && CMD'")
    interrupts = interrupts or Interrupts()
    fleet = Fleet(inventory.hosts, transport)
    try:
        if project is None:
            await interrupts.abort(connect(fleet, emit))
            folders = ["" for _ in fleet.nodes]
        else:
            folders = await interrupts.abort(_folders(fleet, project, emit))
        places = list(zip(fleet.nodes, folders, strict=True))
        with Phase("run", (node.name for node in fleet.nodes), emit) as phase:
            return await _run_all(places, argv, on_output, timeout, interrupts, phase)
    finally:
        await fleet.close()


async def find_folders(inventory: Inventory, project: Job, transport: Transport) -> list[str]:
    """Return the working folder of the project on each node, in node order. Raises LaunchError."""
    fleet = Fleet(inventory.hosts, transport)
    try:
        return await _folders(fleet, project, lambda event: None)
    finally:
        await fleet.close()


async def _folders(fleet: Fleet, project: Job, emit: events.Emit) -> list[str]:
    from orchestrator.pipeline.prepare import with_workdirs  # slow: imports everything for sync

    facts = await connect_all(fleet, emit)
    unknown = (None,) * len(facts)  # no rendezvous
    network = Network("127.0.0.1", unknown, None, unknown)
    plan = make_plan("exec", fleet.hosts, facts, project, network, DEFAULT_PORT)
    plan = await with_workdirs(fleet, plan, project)
    return [node.cwd for node in plan.nodes]


def _script(argv: Sequence[str], folder: str) -> str:
    """Return what a node runs. Raises ValueError if no shell can take the command."""
    command = command_line(argv)
    if folder:
        command = f"{command_line(['cd', '--', folder])} || exit 125; {command}"
    return _SCRIPT.format(command=command)


async def _run_all(
    places: Sequence[tuple[Node, str]],
    argv: Sequence[str],
    on_output: OnOutput,
    timeout: float | None,
    interrupts: Interrupts,
    phase: Phase,
) -> Execution:
    async def run(node: Node, folder: str) -> CommandEnd:
        end = await _run(node, argv, folder, on_output)
        phase.advance(node.name, end.exit_code == 0)
        return end

    running = [asyncio.create_task(run(node, folder)) for node, folder in places]
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
        CommandEnd(node.name, None, NodeError(node.name, "it had not ended"))
        if task.cancelled()
        else task.result()
        for (node, _), task in zip(places, running, strict=True)
    ]
    interrupted = interrupts.signal is not None
    return Execution(tuple(ends), "interrupted" if interrupted else "timed out", interrupts.signal)


async def _run(node: Node, argv: Sequence[str], folder: str, on_output: OnOutput) -> CommandEnd:
    try:
        channel = await node.open(_script(argv, folder))
    except ValueError as error:
        raise UsageError(f"the command cannot be sent: {error}") from None
    except NodeError as error:
        return CommandEnd(node.name, None, error)
    try:
        while data := await channel.read():
            await on_output(node.name, data)
        return CommandEnd(node.name, await channel.wait())
    except NodeError as error:
        return CommandEnd(node.name, None, error)
    finally:
        channel.close()
