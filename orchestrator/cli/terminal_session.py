"""A person's session on one node, with the terminal here: for `orch ssh` and `orch exec -t`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from orchestrator.api.shell import interact, script_for
from orchestrator.cli.signals import end_on_signals
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.remote.base import Screen, Transport
from orchestrator.ui.console import Console, View
from orchestrator.ui.raw_terminal import RawTerminal


@dataclass(frozen=True)
class Session:
    """Where a session is, how that is reached, and what runs there (None: the login shell)."""

    host: Host
    transport: Transport
    script: str | None


SessionMaker = Callable[[], AbstractAsyncContextManager[Session]]
"""Begins a session; what it needs lives as long as the context."""


class Typist(RawTerminal):
    """The person at this terminal."""

    @property
    def screen(self) -> Screen | None:
        """The terminal that it is; None where it is none."""
        size = self.size
        return None if size is None else Screen(os.environ.get("TERM") or "dumb", *size)


def converse(begin: SessionMaker) -> int:
    """Have the person here work in the session that this begins; return its exit code."""
    typist, console = Typist(), Console(View())

    def take() -> Typist:
        console.close()
        typist.take()
        return typist

    async def work() -> int:
        interrupts = Interrupts()
        end_on_signals(interrupts)
        async with begin() as session:
            host, transport, script = session.host, session.transport, session.script
            return await interact(host, transport, script, take, console, interrupts)

    try:
        return asyncio.run(work())
    finally:
        typist.release()
        console.close()


def one_of(hosts: Sequence[Host], expression: str | None) -> Host:
    """Return the only host. Raises UsageError where there are several."""
    if len(hosts) == 1:
        return hosts[0]
    raise UsageError(
        f"{expression or 'the inventory'} is {len(hosts)} nodes, and a terminal is on one",
        remedy=f"name one of them, such as {hosts[0].name}",
    )


def script_of(argv: Sequence[str], folder: str = "", environment: Mapping[str, str] = {}) -> str:
    """Return what runs `argv` on a node, as `script_for`. Raises UsageError for what cannot be sent."""
    try:
        return script_for(argv, folder, environment)
    except ValueError as error:
        raise UsageError(f"the command cannot be sent: {error}") from None
