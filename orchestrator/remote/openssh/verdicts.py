"""Why OpenSSH's client did not connect, from what `ssh -v` printed."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass, replace

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import KnownHosts
from orchestrator.remote.ssh.verdicts import Verdicts
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.ssh_home import with_tilde
from orchestrator.util.text import printable

_NAME = re.compile(r"^ssh: Could not resolve hostname .*: (.*)$", re.MULTILINE)
_CONNECT = re.compile(r"^ssh: connect to host .* port \d+: (.*)$", re.MULTILINE)
_HOST_KEY = re.compile(r"^debug1: Server host key: (\S+) (\S+)$", re.MULTILINE)
_OFFENDING = re.compile(r"^Offending (\S+) key in (.+:\d+)$", re.MULTILINE)
_DENIED = re.compile(r"Permission denied \(([a-z0-9@.,-]*)\)\.$", re.MULTILINE)
_OFFERED = re.compile(r"^debug1: Offering public key: (.*) \S+ SHA256:", re.MULTILINE)
_CLOSED = re.compile(r"\b(?:Connection (?:closed|reset) |Connection to .* closed)", re.MULTILINE)
# Debugging output; what follows from the end of a ProxyCommand, which has given its reason.
_BESIDE_THE_POINT = re.compile(
    r"^debug1: |^OpenSSH_|UNKNOWN port 65535|^kex_exchange_identification: "
)
_ERRORS = {
    "Connection refused": errno.ECONNREFUSED,
    "No route to host": errno.EHOSTUNREACH,
    "Network is unreachable": errno.ENETUNREACH,
    "Host is down": errno.EHOSTDOWN,
    "Connection timed out": errno.ETIMEDOUT,
    "Operation timed out": errno.ETIMEDOUT,
}
BY_A_PERSON = ("keyboard-interactive", "password")
"""Methods by which only a person can log in."""
# Of a token: ssh does not ask for it with BatchMode.
_PIN = re.compile(r"^(?:pin required|need pin entry)", re.MULTILINE)
_MISSING = {os.strerror(errno.ENOENT): "missing"}
_NO_KEY = re.compile(r"^no such identity: (.+): (.+)$", re.MULTILINE)
_MAX_MESSAGES = 3


@dataclass(frozen=True)
class Failure:
    """A login that failed: what ssh printed, and whether it was ended after `timeout` seconds.

    `at_terminal` is why a second one failed, in which the user was asked.
    """

    log: str
    timeout: float
    is_timeout: bool = False
    at_terminal: str = ""

    @property
    def wants_a_person(self) -> bool:
        """Whether the server let nobody in, but would after a password, a code, or the PIN of a token."""
        denied = _DENIED.search(self.log)
        if denied is None:
            return False
        ways = denied[1].split(",")
        return any(way in ways for way in BY_A_PERSON) or self._wants_pin

    def verdict(self, node: str, target: Target, gateway: Target | None) -> Unreachable:
        """Return the verdict on `node`; `gateway` is the last hop on the way to it."""
        verdicts = Verdicts(node, target)
        if self.is_timeout:
            return self._timed_out(verdicts)
        if gateway is not None and "debug1: Remote protocol version" not in self.log:
            return verdicts.not_through(gateway, Exception(self._messages))
        if found := _NAME.search(self.log):
            return verdicts.not_connected(socket.gaierror(0, printable(found[1])), self.timeout)
        if found := _CONNECT.search(self.log):
            number = _ERRORS.get(found[1].strip(), 0)
            error = OSError(number, found[1]) if number else OSError(found[1])
            return verdicts.not_connected(error, self.timeout)
        if "Host key verification failed." in self.log:
            return self._host_key(verdicts)
        if found := _DENIED.search(self.log):
            return self._denied(verdicts, found[1])
        return self._protocol(verdicts)

    @property
    def _wants_pin(self) -> bool:
        return _PIN.search(self.log) is not None

    @property
    def _messages(self) -> str:
        """What ssh printed for its user, without debugging output."""
        lines = [line.strip() for line in self.log.splitlines()]
        kept = [line for line in lines if line and not _BESIDE_THE_POINT.search(line)]
        return printable("; ".join(kept[-_MAX_MESSAGES:]), 400)

    def _timed_out(self, verdicts: Verdicts) -> Unreachable:
        where = verdicts.target.endpoint
        if "debug1: Remote protocol version" in self.log:
            is_late = "SSH2_MSG_SERVICE_ACCEPT received" in self.log
            stage = "authentication" if is_late else "the SSH handshake"
            message = f"{stage} with {where} did not end within {self.timeout:g} s"
            remedy = f"check the load of the node, and with: {verdicts.ssh}"
            return verdicts.verdict("timed-out", message, remedy, verdicts.ssh)
        if "debug1: Connection established." in self.log or "proxy command" in self.log:
            return _not_ssh(
                verdicts, f"{where} says nothing SSH within {self.timeout:g} s of connecting"
            )
        if "debug1: Connecting to" in self.log:
            return verdicts.not_connected(TimeoutError(), self.timeout)
        return verdicts.name_timed_out(self.timeout)

    def _host_key(self, verdicts: Verdicts) -> Unreachable:
        target, shown = verdicts.target, _HOST_KEY.search(self.log)
        kind, fingerprint = map(printable, shown.groups()) if shown else ("a key", "of its own")
        if "REVOKED HOST KEY" in self.log:
            return verdicts.verdict(
                "host-key-changed",
                f"the host key of {target.endpoint} is revoked ({kind} {fingerprint})",
                "do not connect; ask the machine's administrator for a new host key",
            )
        if "HOST IDENTIFICATION HAS CHANGED" in self.log:
            known = _OFFENDING.search(self.log)
            other, where = known.groups() if known else ("other", "known_hosts:0")
            name = target.host_key_alias or target.hostname
            is_plain = target.host_key_alias is not None or target.port == 22
            lookup = name if is_plain else f"[{name}]:{target.port}"
            before = _known_key(name, 22 if is_plain else target.port, where)
            before = before or f"another {printable(other)} key"
            return verdicts.host_key_changed(kind, fingerprint, before, where, lookup)
        return verdicts.host_key_unknown(kind, fingerprint)

    def _denied(self, verdicts: Verdicts, accepted: str) -> Unreachable:
        target = verdicts.target
        offered = dict.fromkeys(printable(each) for each in _OFFERED.findall(self.log))
        tried = ", ".join(offered) or "no key"
        methods = tuple(way for way in accepted.split(",") if way in BY_A_PERSON)
        if methods and "with partial success" in self.log:
            verdict = verdicts.more_wanted(tried, methods)
        else:
            message = f"{target.endpoint} does not let {printable(target.user)} in (tried {tried})"
            message += "".join(
                f"; {with_tilde(path)} is left out: {_MISSING.get(why, printable(why))}"
                for path, why in _NO_KEY.findall(self.log)
            )
            message += f"; it would accept {' or '.join(methods)}" if methods else ""
            copy_id = target.command(program="ssh-copy-id")
            remedy = f"{copy_id}, or set user and identity_file"
            verdict = verdicts.verdict("authentication", message, remedy, copy_id, methods=methods)
        if self._wants_pin and target.pkcs11_provider is not None:
            library = printable(target.pkcs11_provider, 400)
            message = f"{verdict.message}; the token of PKCS11Provider {library} wants its PIN"
            add = line_to_paste(["ssh-add", "-s", target.pkcs11_provider])
            verdict = replace(
                verdict, message=message, remedy=f"give it to the SSH agent: {add}", command=""
            )
        more = f"; {self.at_terminal}" if self.at_terminal else ""
        return replace(verdict, message=f"{verdict.message}{more}")

    def _protocol(self, verdicts: Verdicts) -> Unreachable:
        where, reason = verdicts.target.endpoint, self._messages
        if "debug1: Remote protocol version" in self.log:
            if "Too many authentication failures" in self.log:
                message = f"{where} does not let {printable(verdicts.target.user)} in: {reason}"
                remedy = "name the key: identity_file in the inventory, and IdentitiesOnly in ~/.ssh/config"
                return verdicts.verdict("authentication", message, remedy)
            message = f"the SSH handshake with {where} failed ({reason or 'no reason given'})"
            return verdicts.verdict(
                "protocol", message, f"compare with: {verdicts.ssh}", verdicts.ssh
            )
        if _CLOSED.search(self.log):
            return verdicts.verdict(
                "protocol",
                f"{where} closed the connection before any SSH greeting",
                "try again; if it stays so, check MaxStartups in the node's sshd_config, and with: "
                f"{verdicts.ssh}",
                verdicts.ssh,
                is_busy=True,
            )
        if "debug1: Connection established." in self.log:
            return _not_ssh(verdicts, f"{where} does not speak SSH ({reason})")
        message = f"ssh does not connect to {where}: {reason or 'it gives no reason'}"
        return verdicts.verdict("protocol", message, f"check with: {verdicts.ssh}", verdicts.ssh)


def _known_key(name: str, port: int, where: str) -> str | None:
    """Return the type and fingerprint of the key at `where`, as FILE:LINE; None if it cannot be read."""
    try:
        known = KnownHosts().look_up(name, port, [where.rpartition(":")[0]])
    except Unreadable:
        return None
    found = (entry for entry in known.keys if entry.where == where)
    return next((f"{entry.key_type} {entry.fingerprint}" for entry in found), None)


def _not_ssh(verdicts: Verdicts, message: str) -> Unreachable:
    remedy = (
        f"check that port {verdicts.target.port} is sshd's, or give the right port in the inventory"
    )
    return verdicts.verdict("protocol", message, remedy)
