"""A test transport whose nodes are this machine: scripts run in /bin/sh, and fail on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Capabilities, Node, OnResult, Transport
from orchestrator.remote.process import ProcessChannel, ProcessNode

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class FakeNode(ProcessNode):
    """A `Node` that is this machine; `scripts` has the scripts that were opened.

    `fault` is called before each script and may return an error to raise instead.
    """

    def __init__(self, host: Host, fault: Callable[[str], Exception | None] | None = None) -> None:
        super().__init__(host, lambda script: ["/bin/sh", "-c", script])
        self._fault = fault
        self.scripts: list[str] = []

    async def open(self, script: str) -> ProcessChannel:
        self.scripts.append(script)
        error = self._fault(script) if self._fault is not None else None
        if error is not None:
            raise error
        return await super().open(script)


class FakeTransport(Transport):
    """Every host is this machine, within `capabilities`, except those whose names are in `unreachable`.

    `made` has the nodes that were returned, `calls` the names of each call's hosts.
    """

    name = "fake"

    def __init__(self, timeout: float = 10.0, **cannot: bool) -> None:
        super().__init__(timeout)
        self.capabilities = Capabilities(**cannot)
        self.unreachable: dict[str, Unreachable] = {}
        self.made: list[FakeNode] = []
        self.calls: list[list[str]] = []

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        self.calls.append([host.name for host in hosts])
        results: list[Node | Unreachable] = []
        for host in hosts:
            result: FakeNode | Unreachable = self.unreachable.get(host.name) or FakeNode(host)
            if isinstance(result, FakeNode):
                self.made.append(result)
            results.append(result)
            if on_result is not None:
                on_result(host.name, result, 0.0)
        return results
