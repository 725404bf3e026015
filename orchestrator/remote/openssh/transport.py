"""OpenSSH's own client as a transport, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Node, OnResult, Transport
from orchestrator.remote.openssh.connections import Connections, ConnectOptions
from orchestrator.remote.openssh.masters import Masters

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_SILENCE = (
    30.0  # seconds; that of a run with the default --node-timeout, which can share a master then
)


class OpensshTransport(Transport):
    """One `ssh -M` to each node, which reads the same configuration as `ssh HOST`; sessions share it.

    `accept_new` trusts and stores the host key of a new host.
    """

    name = "openssh"

    def __init__(self, timeout: float = 10.0, accept_new: bool = False) -> None:
        super().__init__(timeout)
        if type(accept_new) is not bool:
            raise ValueError(f"accept_new is true or false, not {accept_new!r:.100}")
        self._options = ConnectOptions(self.timeout, accept_new, _SILENCE)
        self._masters = Masters()

    def describe(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "accept_new": self._options.accept_new}

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        return [*await Connections(self._masters, self._options).open_all(hosts, on_result)]

    def with_silence_limit(self, silence: float) -> OpensshTransport:
        view = OpensshTransport(self.timeout, self._options.accept_new)
        view._options = ConnectOptions(self.timeout, self._options.accept_new, silence)
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
