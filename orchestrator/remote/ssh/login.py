"""One SSH login as it goes: judges the host key, offers our keys, remembers what happened."""

from __future__ import annotations

from dataclasses import dataclass

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh import verdicts
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import Known, KnownHosts, fingerprint
from orchestrator.remote.ssh.identities import KeyFiles, Offer
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable


@dataclass(frozen=True)
class Trust:
    """The two keys of a cluster of our own making: what opens it, and what it must show.

    With it nothing of the user's SSH set-up is looked at: no files, no agent, no configuration.
    """

    client_key: asyncssh.SSHKey
    host_key: asyncssh.SSHKey


class Login(asyncssh.SSHClient):
    """The callbacks of one connection attempt, and what they saw.

    Raises Unreadable where a file of host keys is none.
    """

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
        self._log = node_logger("ssh", node)
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

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._log.info("connection lost: %s", exc)
        else:
            self._log.debug("connection closed")

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        blob = key.public_data
        self._log.debug(
            "%s shows host key %s %s",
            self.connection.get_extra_info("server_version") if self.connection else "sshd",
            key.get_algorithm(),
            fingerprint(blob),
        )
        if self._trust is not None:
            trusted = blob == self._trust.host_key.public_data
        else:
            trusted = self.known.trusts(blob)
        is_taken = trusted or self._judge(key)
        if trusted:
            self._log.debug("host key is the one that is known")
        elif not is_taken:
            self._log.debug("host key refused")
        return is_taken

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
                f"the new host key of {self._target.endpoint} cannot be written to "
                f"{printable(file, 400)} ({error.strerror})",
                f"make {printable(file, 400)} a file that can be written",
            )
            return False
        self._log.info("host key %s %s is new: added to %s", kind, print_of_key, file)
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
        self._log.debug("keys exchanged; waiting for authentication as %s", username)

    def auth_completed(self) -> None:
        self._log.debug("authenticated")

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        if self.offer is not None:
            self._log.debug("no other key to offer")
            return None  # all of them have been tried
        if self._trust is not None:
            pairs = tuple(asyncssh.load_keypairs(self._trust.client_key))
            self.offer = Offer(pairs, ("the cluster's own key",), ())
        else:
            if self._target.agent:
                self.agent = asyncssh.SSHAgentClient(self._target.agent)
            self.offer = await self._key_files.offer(self._target, self.agent)
        self._log.debug("keys to offer: %s", ", ".join(self.offer.names) or "none")
        for file in self.offer.left_out:
            self._log.debug("%s is left out: %s", file.shown, file.problem)
        if self.offer.agent_problem is not None:
            self._log.debug("the SSH agent is left out: %s", self.offer.agent_problem)
        return list(self.offer.pairs) or None
