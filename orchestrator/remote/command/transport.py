"""Any program that runs a shell command on a node, as a transport."""

from __future__ import annotations

import asyncio
import copy
import shutil
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import NodeError, Unreachable, UsageError
from orchestrator.remote.base import Capabilities, Node, OnResult, Transport
from orchestrator.remote.command.node import CommandNode
from orchestrator.remote.command.template import Template
from orchestrator.remote.command.verdicts import NO_SHELL, Reason, Verdicts
from orchestrator.remote.ssh.script import command_for

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_AT_ONCE = 16
"""How many programs connect at the same time: each may take 50 ms of CPU time and 50 MB."""

_SILENCE = 30.0
"""Seconds without output after which a node is asked for a sign of life."""

_OF_SSH = ("user", "port", "identity_file", "known_hosts", "proxy_jump")


class ProgramTransport(Transport):
    """Base of the transports that start one local program for each script on a node."""

    reasons: ClassVar[Sequence[Reason]] = (NO_SHELL,)
    """What the program prints if it cannot run a script."""
    used: frozenset[str] = frozenset()
    """The keys of a host, besides its address, that `argv` passes on."""

    def __init__(self, timeout: float = 10.0) -> None:
        super().__init__(timeout)
        self._silence = _SILENCE

    def with_silence_limit(self, silence: float) -> ProgramTransport:
        view = copy.copy(self)
        view._silence = min(self._silence, silence)
        return view

    @abstractmethod
    def argv(self, host: Host, line: str, *, terminal: bool = False) -> list[str]:
        """Return the program and the arguments that have a shell on `host` run `line`.

        With `terminal`, the program runs in a terminal, and the shell has one too. Raises UsageError if the
        host lacks a value that they need, or if there is no way to a terminal.
        """

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        nodes = [self._node(host) for host in hosts]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def connect(node: CommandNode, verdicts: Verdicts) -> Node | Unreachable:
            async with limit:
                began = time.monotonic()
                result = await self._connect(node, verdicts)
            if on_result is not None:
                on_result(node.name, result, time.monotonic() - began)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(connect(*each)) for each in nodes]
        except BaseException:
            await asyncio.gather(*(node.close() for node, _ in nodes))
            raise
        return [task.result() for task in tasks]

    def _node(self, host: Host) -> tuple[CommandNode, Verdicts]:
        attempt = self.argv(host, "echo it works")
        verdicts = Verdicts(host.name, attempt[0], host.address, attempt, self.reasons)
        unused = [key for key in _OF_SSH if getattr(host, key) and key not in self.used]
        warnings = (
            (f"{', '.join(unused)} in the inventory: no effect with transport {self.name}",)
            if unused
            else ()
        )
        node = CommandNode(
            host,
            lambda script: self.argv(host, command_for(script)),
            lambda script: self.argv(host, command_for(script), terminal=True),
            verdicts,
            self.timeout,
            self._silence,
            warnings,
        )
        return node, verdicts

    async def _connect(self, node: CommandNode, verdicts: Verdicts) -> Node | Unreachable:
        if shutil.which(verdicts.program) is None:
            return verdicts.not_installed()
        try:
            verdict = await node.check()
        except NodeError as error:  # the program cannot be started
            verdict = verdicts.failed(126, error.text.encode())
        if verdict is None:
            return node
        await node.close()
        return verdict


class CommandTransport(ProgramTransport):
    """The program of the user, who writes its words with placeholders (see `Template`).

    `terminal` is the program that runs instead in a terminal, for `orch ssh` and `orch exec -t`.
    `outlives_controller` is false if processes on a node end with the program that started them.
    """

    name = "command"

    def __init__(
        self,
        command: Sequence[str],
        timeout: float = 10.0,
        outlives_controller: bool = True,
        terminal: Sequence[str] | None = None,
    ) -> None:
        super().__init__(timeout)
        if type(outlives_controller) is not bool:
            raise ValueError(
                f"outlives_controller is true or false, not {outlives_controller!r:.100}"
            )
        self._template = Template(command)
        self._terminal = None if terminal is None else Template(terminal, "terminal")
        self.used = self._template.used
        self.capabilities = Capabilities(outlives_controller=outlives_controller)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> CommandTransport:
        if "command" not in options:
            raise ValueError(
                "its command is missing; write it in the inventory, as in "
                '`transport: {command: [docker, exec, -i, "{name}", sh, -c, "{script}"]}`'
            )
        return super().parse(options)

    def describe(self) -> dict[str, Any]:
        terminal = {} if self._terminal is None else {"terminal": list(self._terminal.words)}
        return {
            **super().describe(),
            **terminal,
            "command": list(self._template.words),
            "outlives_controller": self.capabilities.outlives_controller,
        }

    def argv(self, host: Host, line: str, *, terminal: bool = False) -> list[str]:
        if not terminal:
            return self._template.fill(host, line)
        if self._terminal is None:
            raise UsageError(
                f"{host.name}: the transport's command gives no terminal",
                remedy="give the transport the option terminal: the same list of words, with the program's "
                "option for a terminal (-t, say); or run single commands: orch exec -- CMD",
            )
        return self._terminal.fill(host, line)
