"""OpenSSH's own client as a transport, with its options."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Node, OnResult, Transport
from orchestrator.remote.openssh.connections import SILENCE, Connections, ConnectOptions
from orchestrator.remote.openssh.masters import Masters
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.limits import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class OpensshTransport(Transport):
    """One `ssh -M` to each node, which reads the same configuration as `ssh HOST`; sessions share it.

    Without a `timeout`, ConnectTimeout of ssh_config counts, otherwise 10 s. `accept_new` trusts and
    stores the host key of a new host.
    """

    name = "openssh"

    def __init__(self, timeout: float | None = None, accept_new: bool = False) -> None:
        super().__init__(DEFAULT_TIMEOUT if timeout is None else timeout)
        if type(accept_new) is not bool:
            raise ValueError(f"accept_new is true or false, not {accept_new!r:.100}")
        limit = None if timeout is None else self.timeout
        self._options = ConnectOptions(limit, accept_new, SILENCE)
        self._masters = Masters()

    def describe(self) -> dict[str, Any]:
        own = {} if self._options.timeout is None else {"timeout": self._options.timeout}
        return {**own, "accept_new": self._options.accept_new}

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        self._masters.prepare()

        async def connect(host: Host, target: Target) -> Node | Unreachable:
            start = time.monotonic()
            result = await connections.connect(host, target)
            if on_result is not None:
                on_result(host.name, result, time.monotonic() - start)
            return result

        async with Connections(self._masters, self._options) as connections:
            targets = await connections.resolve_all(hosts)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(connect(host, target))
                    for host, target in zip(hosts, targets, strict=True)
                ]
        self._masters.may_ask = False
        return [task.result() for task in tasks]

    def with_silence_limit(self, silence: float) -> OpensshTransport:
        view = OpensshTransport(self._options.timeout, self._options.accept_new)
        view._options = replace(self._options, silence=silence)
        view._masters = self._masters
        return view

    def hand_over(self) -> None:
        self._masters.keep = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._masters.close()
