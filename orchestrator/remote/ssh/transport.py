"""SSH as a transport, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Unreachable
from orchestrator.remote.base import Node, OnResult, Transport, seconds
from orchestrator.remote.openssh import connections as openssh
from orchestrator.remote.openssh.handover import Handover
from orchestrator.remote.openssh.masters import Masters
from orchestrator.remote.ssh.connect import ConnectOptions, Trust, connect_all
from orchestrator.remote.ssh.limits import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from orchestrator.inventory import Host


# asyncssh sends three probes and gives up when the fourth is due.
_PROBES = 4


class SshTransport(Transport):
    """One SSH connection to each node, as `ssh HOST` would make it; OpenSSH's client makes some of them.

    Without a `timeout`, ConnectTimeout of ssh_config counts, otherwise 10 s. `accept_new` trusts and
    stores the host key of a new host. `keepalive` is the interval of probes, in seconds. `trust` has the
    keys of an embedded cluster and is never stored.
    """

    name = "ssh"

    def __init__(
        self,
        timeout: float | None = None,
        accept_new: bool = False,
        keepalive: float = 15.0,
        trust: Trust | None = None,
    ) -> None:
        super().__init__(DEFAULT_TIMEOUT if timeout is None else timeout)
        if type(accept_new) is not bool:
            raise ValueError(f"accept_new is true or false, not {accept_new!r:.100}")
        if not isinstance(trust, Trust | None):
            raise ValueError("trust is a pair of keys")
        probes = seconds("keepalive", keepalive)
        limit = None if timeout is None else self.timeout
        self._masters = Masters()
        self.options = ConnectOptions(limit, accept_new, probes, trust)

    def describe(self) -> dict[str, Any]:
        own = {} if self.options.timeout is None else {"timeout": self.options.timeout}
        return {**own, "accept_new": self.options.accept_new}

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        if self.options.trust is not None:
            return await connect_all(hosts, self.options, on_result=on_result)
        silence = min(openssh.SILENCE, _PROBES * self.options.keepalive)
        own = openssh.ConnectOptions(self.options.timeout, self.options.accept_new, silence)
        async with Handover(self._masters, own) as other:
            results = await connect_all(hosts, self.options, on_result=on_result, other=other)
        self._masters.may_ask = False
        return results

    def with_silence_limit(self, silence: float) -> SshTransport:
        options = self.options
        keepalive = min(options.keepalive, max(0.5, silence / _PROBES))
        view = SshTransport(options.timeout, options.accept_new, keepalive, options.trust)
        view._masters = self._masters
        return view

    def hand_over(self) -> None:
        self._masters.keep = True

    async def __aexit__(self, *error: object) -> None:
        await self._masters.close()
