"""SSH as a transport, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Node, OnResult, Transport, seconds
from orchestrator.remote.ssh.connect import ConnectOptions, Trust, connect_all

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class SshTransport(Transport):
    """One SSH connection to each node, as `ssh HOST` would make it.

    `accept_new` trusts and stores the host key of a new host. `keepalive` is the interval of probes, in
    seconds. `trust` has the keys of an embedded cluster and is never stored.
    """

    name = "ssh"

    def __init__(
        self,
        timeout: float = 10.0,
        accept_new: bool = False,
        keepalive: float = 15.0,
        trust: Trust | None = None,
    ) -> None:
        super().__init__(timeout)
        if type(accept_new) is not bool:
            raise ValueError(f"accept_new is true or false, not {accept_new!r:.100}")
        if not isinstance(trust, Trust | None):
            raise ValueError("trust is a pair of keys")
        probes = seconds("keepalive", keepalive)
        self.options = ConnectOptions(self.timeout, accept_new, probes, trust)

    def describe(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "accept_new": self.options.accept_new}

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        return [*await connect_all(hosts, self.options, on_result=on_result)]

    def with_silence_limit(self, silence: float) -> SshTransport:
        # asyncssh sends three probes and gives up when the fourth is due.
        keepalive = min(self.options.keepalive, max(0.5, silence / 4))
        return SshTransport(self.timeout, self.options.accept_new, keepalive, self.options.trust)
