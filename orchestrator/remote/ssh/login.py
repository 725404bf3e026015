"""One SSH login: checks the host key, offers the user's keys, and explains a failure."""

from __future__ import annotations

from dataclasses import dataclass

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import Known, KnownHosts, fingerprint
from orchestrator.remote.ssh.identities import KeyFiles, Offer
from orchestrator.remote.ssh.lean import spare
from orchestrator.remote.ssh.verdicts import LONGER, Verdicts
from orchestrator.util.log import node_logger
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

_REVOKED = "revoked"  # in asyncssh's message about a host key or certificate


@dataclass(frozen=True)
class Trust:
    """The two keys of an embedded cluster: the client's and the host's.

    With it, the user's SSH configuration, keys and agent are not used.
    """

    client_key: asyncssh.SSHKey
    host_key: asyncssh.SSHKey


class Login(asyncssh.SSHClient):
    """The callbacks of one connection attempt, and what they recorded.

    Raises Unreadable if a known_hosts file cannot be read.
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
        self._log = node_logger("ssh", node)
        self._target = target
        self._verdicts = Verdicts(node, target)
        self._known_hosts = known_hosts
        self._key_files = key_files
        self._accept_new = accept_new
        self._trust = trust
        # With an alias, ssh ignores the port.
        alias = target.host_key_alias
        self._lookup = (target.hostname, target.port) if alias is None else (alias, 22)
        self.known = self._look_up()
        self.connection: asyncssh.SSHClientConnection | None = None
        self._is_authenticating = False
        self._host_key_verdict: Unreachable | None = None
        self._offer: Offer | None = None
        self._are_keys_refused = False
        self._wanted: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self.is_authority_unknown = False
        """Whether the host has shown a certificate of an authority that is not in known_hosts."""
        self.agent: asyncssh.SSHAgentClient | None = None

    def _look_up(self) -> Known:
        if self._trust is not None:
            return Known((), (), (), ())
        files = (
            *self._target.user_known_hosts,
            *self._target.extra_known_hosts,
            *self._target.global_known_hosts,
        )
        return self._known_hosts.look_up(*self._lookup, files)

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn
        spare(conn)

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
            is_known = blob == self._trust.host_key.public_data
        else:
            is_known = self.known.trusts(blob)
        self._host_key_verdict = self._revoked_verdict(key)
        if is_known:
            self._log.debug("host key is known")
        elif self._host_key_verdict is None:
            self._host_key_verdict = self._judge(key)
        if self._host_key_verdict is not None:
            self._log.debug("host key refused")
        return self._host_key_verdict is None

    def _judge(self, key: asyncssh.SSHKey) -> Unreachable | None:
        """Accept an unknown key and add it to known_hosts, or return the verdict."""
        kind, key_print = key.get_algorithm(), fingerprint(key.public_data)
        name, port = self._lookup
        known = self.known.instead_of(key.public_data)
        if known is not None:
            known_print = f"{known.key_type} {known.fingerprint}"
            lookup = name if port == 22 else f"[{name}]:{port}"
            return self._verdicts.host_key_changed(
                kind, key_print, known_print, known.where, lookup
            )
        if not self._accept_new and self._target.accept_new is None:
            return self._verdicts.host_key_unknown(kind, key_print)
        if self._target.accept_new is not None:
            self.warnings = (self._target.trusts_new_keys,)
        if not self._target.user_known_hosts:  # none are to be stored
            return None
        file = self._target.user_known_hosts[0]
        try:
            self._known_hosts.add(name, port, key, file, hashed=self._target.hash_known_hosts)
        except OSError as error:
            return self._verdicts.host_key_not_added(file, error)
        self._log.info("host key %s %s is new: added to %s", kind, key_print, file)
        return None

    def _revoked_verdict(self, key: asyncssh.SSHKey) -> Unreachable | None:
        """Return the verdict on a key if RevokedHostKeys has it, or cannot be read, as for ssh."""
        for file in self._target.revoked_host_keys:
            problem = self._known_hosts.why_revoked(key, file)
            if problem is not None:
                return self._verdicts.host_key_revoked(file, problem)
        return None

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        if self.known.trusts_authority(key.public_data):
            return True
        self.is_authority_unknown = True
        self._host_key_verdict = self._verdicts.authority_unknown(fingerprint(key.public_data))
        return False

    def begin_auth(self, username: str) -> None:
        self._is_authenticating = True
        self._log.debug("keys exchanged; waiting for authentication as %s", username)

    def auth_completed(self) -> None:
        self._log.debug("authenticated")

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        if self._offer is not None:
            self._log.debug("no other key to offer")
            self._are_keys_refused = True
            return None  # all keys have been tried
        if self._trust is not None:
            pairs = tuple(asyncssh.load_keypairs(self._trust.client_key))
            self._offer = Offer(pairs, ("the cluster's own key",), ())
        else:
            if self._target.agent:
                self.agent = asyncssh.SSHAgentClient(self._target.agent)
            self._offer = await self._key_files.offer(self._target, self.agent)
        self._log.debug("keys to offer: %s", ", ".join(self._offer.names) or "none")
        for file in self._offer.left_out:
            self._log.debug("%s is left out: %s", file.shown, file.problem)
        if self._offer.agent_problem is not None:
            self._log.debug("the SSH agent is left out: %s", self._offer.agent_problem)
        self._are_keys_refused = not self._offer.pairs
        return list(self._offer.pairs) or None

    def kbdint_auth_requested(self) -> str | None:
        """Decline; sshd accepts it, or wants it besides a key."""
        self._wanted.append("keyboard-interactive")
        return None

    def password_auth_requested(self) -> str | None:
        """Decline; sshd accepts it, or wants it besides a key."""
        self._wanted.append("password")
        return None

    def failure(self, error: Exception, timeout: float) -> Unreachable:
        """Return the verdict on a handshake or authentication that failed with `error`."""
        where, ssh = self._target.endpoint, self._verdicts.ssh
        reason = printable(str(error))
        if self._host_key_verdict is not None:
            return self._host_key_verdict
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return self._bad_host_key(error)
        has_greeted = self.connection and self.connection.get_extra_info("server_version")
        if isinstance(error, TimeoutError) and has_greeted:
            stage = "authentication" if self._is_authenticating else "the SSH handshake"
            message = f"{stage} with {where} did not end within {timeout:g} s"
            remedy = f"check the load of the node, and with: {ssh}; {LONGER}"
            return self._verdicts.verdict("timed-out", message, remedy, ssh)
        if isinstance(error, TimeoutError):
            message = f"{where} accepts connections but says nothing SSH within {timeout:g} s"
            return self._not_ssh(message, f"; {LONGER}")
        if isinstance(error, asyncssh.PermissionDenied):
            return self._denied("")
        if self._is_authenticating:
            return self._denied(f": {reason or 'it closed the connection'}")
        if has_greeted:
            message = f"the SSH handshake with {where} failed ({reason or type(error).__name__})"
            return self._verdicts.verdict("protocol", message, f"compare with: {ssh}", ssh)
        if isinstance(error, asyncssh.ConnectionLost | ConnectionError):
            return self._verdicts.verdict(
                "protocol",
                f"{where} closed the connection before any SSH greeting",
                "try again; if it stays so, check MaxStartups in the node's sshd_config, and with: "
                f"{ssh}",
                ssh,
                is_busy=True,
            )
        return self._not_ssh(f"{where} does not speak SSH ({reason})")

    def _not_ssh(self, message: str, more: str = "") -> Unreachable:
        remedy = f"check that port {self._target.port} is sshd's, or give the right port in the inventory"
        return self._verdicts.verdict("protocol", message, remedy + more)

    def _bad_host_key(self, error: Exception) -> Unreachable:
        """Return the verdict on a key that asyncssh rejects: revoked, or with an invalid certificate."""
        where = self._target.endpoint
        if self.known.revoked and _REVOKED in str(error):
            places = printable(", ".join(entry.where for entry in self.known.revoked), 400)
            return self._verdicts.verdict(
                "host-key-changed",
                f"the host key of {where} is revoked by {places}",
                "do not connect; ask the machine's administrator for a new host key",
            )
        return self._verdicts.verdict(
            "host-key-unknown",
            f"the host certificate of {where} is not valid ({printable(str(error))})",
            f"check its validity and principals on the node, and with: {self._verdicts.ssh}",
            self._verdicts.ssh,
        )

    def _denied(self, more: str) -> Unreachable:
        offer = self._offer or Offer((), (), ())
        tried = ", ".join(offer.names) or "no key"
        user = printable(self._target.user)
        if offer.pairs and self._wanted and not self._are_keys_refused:
            return self._verdicts.more_wanted(tried, tuple(self._wanted))
        message = f"{self._target.endpoint} does not let {user} in (tried {tried}){more}"
        for file in offer.left_out:
            message += f"; {file.shown} is left out: {file.problem}"
        if offer.agent_problem is not None:
            message += f"; the agent is left out: {offer.agent_problem}"
        wanted = tuple(self._wanted)
        if wanted:
            message += f"; it would accept {' or '.join(wanted)}"
        encrypted = [file.path for file in offer.left_out if file.is_encrypted]
        if encrypted:
            add = line_to_paste(["ssh-add", encrypted[0]])
            return self._verdicts.verdict("authentication", message, add, methods=wanted)
        copy_id = self._target.command(program="ssh-copy-id")
        remedy = f"{copy_id}, or set user and identity_file"
        return self._verdicts.verdict("authentication", message, remedy, copy_id, methods=wanted)
