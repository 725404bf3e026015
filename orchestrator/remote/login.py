"""One SSH login as it goes: judges the host key, offers our keys, remembers what happened."""

from __future__ import annotations

from dataclasses import dataclass

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote import verdicts
from orchestrator.remote.hostkeys import Known, KnownHosts, fingerprint
from orchestrator.remote.identities import KeyFiles, Offer
from orchestrator.remote.ssh_config import Target


@dataclass(frozen=True)
class Trust:
    """The two keys of a cluster of our own making: what opens it, and what it must show.

    With it nothing of the user's SSH set-up is looked at: no files, no agent, no configuration.
    """

    client_key: asyncssh.SSHKey
    host_key: asyncssh.SSHKey


class Login(asyncssh.SSHClient):
    """The callbacks of one connection attempt, and what they saw."""

    def __init__(
        self,
        node: str,
        target: Target,
        known_hosts: KnownHosts,
        key_files: KeyFiles,
        *,
        accept_new: bool,
        trust: Trust | None,
    ) -> None:
        self._node = node
        self._target = target
        self._known_hosts = known_hosts
        self._key_files = key_files
        self._accept_new = accept_new
        self._trust = trust
        # With an alias, ssh looks no port up.
        alias = target.host_key_alias
        self._lookup = (target.hostname, target.port) if alias is None else (alias, 22)
        self.known = self._what_is_known()
        self.connection: asyncssh.SSHClientConnection | None = None
        self.authenticating = False
        self.host_key_verdict: Unreachable | None = None
        self.offer: Offer | None = None
        self.agent: asyncssh.SSHAgentClient | None = None

    def _what_is_known(self) -> Known:
        if self._trust is not None:
            return Known((), (), (), ())
        files = (
            *self._target.user_known_hosts,
            *self._target.extra_known_hosts,
            *self._target.global_known_hosts,
        )
        name, port = self._lookup
        return self._known_hosts.look_up(name, port, files)

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        blob = key.public_data
        if self._trust is not None:
            trusted = blob == self._trust.host_key.public_data
        else:
            trusted = self.known.trusts(blob)
        return trusted or self._judge(key)

    def _judge(self, key: asyncssh.SSHKey) -> bool:
        """Take a key that no file knows, or say why not."""
        kind, print_of_key = key.get_algorithm(), fingerprint(key.public_data)
        name, port = self._lookup
        known = self.known.instead_of(key.public_data)
        if known is not None:
            self.host_key_verdict = verdicts.host_key_changed(
                self._node,
                self._target,
                kind,
                print_of_key,
                f"{known.key_type} {known.fingerprint}",
                known.where,
                name if port == 22 else f"[{name}]:{port}",
            )
            return False
        if not (self._accept_new and self._target.user_known_hosts):
            self.host_key_verdict = verdicts.host_key_unknown(
                self._node, self._target, kind, print_of_key
            )
            return False
        file = self._target.user_known_hosts[0]
        try:
            self._known_hosts.add(name, port, key, file, hashed=self._target.hash_known_hosts)
        except OSError as error:
            self.host_key_verdict = Unreachable(
                self._node,
                "host-key-unknown",
                f"the new host key of {self._target.endpoint} cannot be written to {file} "
                f"({error.strerror})",
                f"make {file} writable",
            )
            return False
        return True

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        if self.known.trusts_authority(key.public_data):
            return True
        self.host_key_verdict = verdicts.authority_unknown(
            self._node, self._target, fingerprint(key.public_data)
        )
        return False

    def begin_auth(self, username: str) -> None:
        self.authenticating = True

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        if self.offer is not None:
            return None  # all of them have been tried
        if self._trust is not None:
            pairs = tuple(asyncssh.load_keypairs(self._trust.client_key))
            self.offer = Offer(pairs, ("the cluster's own key",), ())
        else:
            if self._target.agent:
                self.agent = asyncssh.SSHAgentClient(self._target.agent)
            self.offer = await self._key_files.offer(self._target, self.agent)
        return list(self.offer.pairs) or None
