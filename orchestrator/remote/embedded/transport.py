"""The embedded cluster as a transport: nodes on this machine, reached through SSH over loopback."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Node, OnResult, Transport
from orchestrator.remote.embedded.cluster import LocalCluster
from orchestrator.remote.ssh.transport import SshTransport

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class EmbeddedTransport(Transport):
    """`count` nodes that work below the folder `root` and share `gpus`, while it is open.

    Opened in another process, it has nodes with the same names at other ports; hosts are found by name.
    """

    name = "local"

    def __init__(
        self, count: int, root: str | Path, timeout: float = 10.0, gpus: Sequence[str] = ()
    ) -> None:
        super().__init__(timeout)
        if type(count) is not int or count < 1 or not isinstance(root, str | Path):
            raise ValueError("count is a number of nodes, and root a folder")
        self._count, self._root = count, Path(root)
        self._cluster = LocalCluster(count, self._root, gpus)
        self._ssh = SshTransport(self.timeout, trust=self._cluster.options.trust)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        if not {"count", "root"} <= options.keys():
            raise ValueError("its nodes are those of --local N")
        return super().parse(options)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts of the nodes; available while it is open."""
        return self._cluster.hosts

    def describe(self) -> dict[str, Any]:
        return {"count": self._count, "root": str(self._root), "timeout": self.timeout}

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        ports = {host.name: host.port for host in self.hosts}
        there = [
            host.model_copy(update={"port": ports.get(host.name, host.port)}) for host in hosts
        ]
        return await self._ssh.connect_all(there, on_result=on_result)

    def with_silence_limit(self, silence: float) -> EmbeddedTransport:
        view = copy.copy(self)
        view._ssh = self._ssh.with_silence_limit(silence)
        return view

    async def __aenter__(self) -> Self:
        await self._cluster.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._cluster.__aexit__()
