"""Verdicts on nodes that cannot be reached: one sentence and one remedy, with real names."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh.config import Target
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.ssh_home import ssh_home, unread_folder
from orchestrator.util.text import printable

LONGER = "or allow it more time with --connect-timeout"
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)

# Parts of a gateway's message, in lower case, about a connection that it cannot open -> the cause.
_GATEWAY_CAUSES = {
    "refused": "refused",
    "timed out": "timed-out",
    "no route": "no-route",
    "name or service": "name",
    "resolv": "name",
    "unreachable": "no-route",
}


def behind(node: str, gateway: Unreachable) -> Unreachable:
    """Return the verdict on a node whose gateway cannot be reached."""
    message = f"its gateway {gateway.node} cannot be reached: {gateway.message}"
    return Unreachable(node, "gateway", message, gateway.remedy, methods=gateway.methods)


def by_command(verdict: Unreachable, stderr: bytes) -> Unreachable:
    """Return `verdict` on a node behind a ProxyCommand with the messages of that command."""
    if not stderr.strip():
        return verdict
    message = f"{verdict.message} (its ProxyCommand says: {printable(stderr)})"
    return replace(verdict, message=message)


def with_settings(verdict: Unreachable, target: Target) -> Unreachable:
    """Return `verdict` with what may be the reason: settings of ssh_config that were not followed, and a
    folder .ssh that is not read."""
    message, unread = verdict.message, unread_folder()
    if unread is not None:
        used, other = (printable(str(path), 400) for path in (ssh_home() / ".ssh", unread))
        message += f"; ssh and orch read {used}, not {other}"
    ignored = ", ".join(target.without_effect)
    if ignored and not verdict.cause.startswith("host-key"):
        message += f"; orch did not follow {ignored} of your ssh_config"
    return replace(verdict, message=message)


@dataclass(frozen=True)
class Verdicts:
    """Makes the verdicts on `node`, which is reached at `target`."""

    node: str
    target: Target

    @property
    def ssh(self) -> str:
        """The command line with which the user reaches the same target."""
        return self.target.command()

    def verdict(
        self, cause: str, message: str, remedy: str, command: str = "", **more: Any
    ) -> Unreachable:
        """Return a verdict; `command` is a command line in `remedy` that ends with the login."""
        login = shlex.quote(shlex.split(command)[-1]) if command and command.isprintable() else ""
        place = printable(self.target.hostname)
        return Unreachable(
            self.node, cause, message, remedy, place=place, command=command, login=login, **more
        )

    def not_connected(self, error: OSError, timeout: float) -> Unreachable:
        """Return the verdict on a TCP connection or name look-up that failed with `error`."""
        where, port = self.target.endpoint, self.target.port
        if isinstance(error, socket.gaierror):
            return self.verdict(
                "name",
                f"the name {printable(self.target.hostname)} does not resolve ({error.strerror})",
                "correct the address in the inventory, or add the name to DNS, /etc/hosts or ~/.ssh/config",
            )
        if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
            return self.verdict(
                "timed-out",
                f"no answer from {where} within {timeout:g} s",
                f"check that the machine is up and that no firewall drops port {port}; {LONGER}",
            )
        if isinstance(error, ConnectionRefusedError):
            return self.verdict(
                "refused",
                f"{where} refuses connections: nothing listens on port {port} there",
                "start sshd on the node, or give the right port in the inventory",
            )
        # asyncio's own message is unhelpful: "Connect call failed ('10.0.0.9', 22)".
        reason = os.strerror(error.errno) if error.errno else printable(str(error))
        route = "no route to" if error.errno in _NO_ROUTE else "cannot connect to"
        remedy = "check the address, the network, and whether the node needs a proxy_jump"
        return self.verdict("no-route", f"{route} {where} ({reason})", remedy)

    def name_timed_out(self, timeout: float) -> Unreachable:
        """Return the verdict on a name look-up that timed out."""
        return self.verdict(
            "timed-out",
            f"the name {printable(self.target.hostname)} did not resolve within {timeout:g} s",
            f"check this machine's DNS, or give an IP address in the inventory; {LONGER}",
        )

    def not_through(self, gateway: Target, error: Exception) -> Unreachable:
        """Return the verdict on a connection that a gateway failed or refused to open."""
        reason = printable(getattr(error, "reason", "") or str(error)) or "no reason given"
        said = reason.lower()
        causes = (cause for part, cause in _GATEWAY_CAUSES.items() if part in said)
        endpoint = self.target.hostname, str(self.target.port)
        return self.verdict(
            next(causes, "gateway"),
            f"gateway {printable(gateway.label)} cannot connect to {self.target.endpoint} ({reason})",
            f"check from the gateway: {gateway.command('nc', '-vz', *endpoint)}",
        )

    def host_key_unknown(self, kind: str, fingerprint: str) -> Unreachable:
        """Return the verdict on a host whose key is not in any known_hosts file."""
        return self.verdict(
            "host-key-unknown",
            f"the host key of {self.target.endpoint} is not known ({kind} {fingerprint})",
            f"compare the fingerprint, then connect once with: {self.ssh} "
            f"(or trust new hosts with --accept-new)",
            command=self.ssh,
            evidence=f"{kind} {fingerprint}",
        )

    def known_hosts_unreadable(self, error: Unreadable) -> Unreachable:
        """Return the verdict on a host whose known_hosts file cannot be read."""
        return self.verdict(
            "host-key-unknown",
            f"the host key cannot be looked up: {error}",
            "correct known_hosts in the inventory, or UserKnownHostsFile in ~/.ssh/config",
        )

    def host_key_not_added(self, file: str, error: OSError) -> Unreachable:
        """Return the verdict on a new host whose key cannot be added to a known_hosts file."""
        shown = printable(file, 400)
        return self.verdict(
            "host-key-unknown",
            f"the new host key of {self.target.endpoint} cannot be written to {shown} ({error.strerror})",
            f"make {shown} a file that can be written",
        )

    def host_key_changed(
        self, kind: str, offered: str, known: str, where: str, lookup: str
    ) -> Unreachable:
        """Return the verdict on a host whose key differs from the one in a known_hosts file."""
        forget = line_to_paste(["ssh-keygen", "-f", where.rpartition(":")[0], "-R", lookup])
        return self.verdict(
            "host-key-changed",
            f"THE HOST KEY of {self.target.endpoint} HAS CHANGED: {printable(where, 400)} knows {known}, "
            f"it offers {kind} {offered}",
            f"if the machine was reinstalled: {forget}; if not, someone may be listening in",
        )

    def host_key_revoked(self, file: str, problem: str) -> Unreachable:
        """Return the verdict on a host whose key RevokedHostKeys has, or may have."""
        where = printable(file, 400)
        return self.verdict(
            "host-key-changed",
            f"the host key of {self.target.endpoint} {problem} (RevokedHostKeys {where})",
            "do not connect; ask the machine's administrator for a new host key",
        )

    def more_wanted(self, tried: str, methods: tuple[str, ...]) -> Unreachable:
        """Return the verdict on a host that accepted a key and wants more than that."""
        user, wanted = printable(self.target.user), " or ".join(methods)
        return self.verdict(
            "authentication",
            f"{self.target.endpoint} accepts a key of {user} ({tried}), and wants {wanted} besides it",
            "run orch at a terminal, where it can be typed, or have a connection open there "
            f"(ControlMaster in ~/.ssh/config): {self.ssh}",
            self.ssh,
            methods=methods,
        )

    def authority_unknown(self, fingerprint: str) -> Unreachable:
        """Return the verdict on a host certificate whose authority is not trusted."""
        return self.verdict(
            "host-key-unknown",
            f"the host certificate of {self.target.endpoint} is signed by an unknown authority "
            f"({fingerprint})",
            "add the authority to known_hosts as @cert-authority, if you trust it",
        )

    def shell_hangs(self, seconds: float, noise: bytes) -> Unreachable:
        """Return the verdict on a login shell that never returns from its start-up files."""
        return self.verdict(
            "shell",
            f"the login shell did not run orch's command within {seconds:g} s{_printed(noise)}: a start-up "
            "file (~/.bashrc, say) starts another shell, waits for input, or sleeps",
            f"check with: {self.target.command('true')}; then make the file end in a shell that is not "
            "interactive, with this first line: case $- in *i*) ;; *) return ;; esac",
            command=self.ssh,
        )

    def shell_failed(self, what: str, noise: bytes) -> Unreachable:
        """Return the verdict on a login shell that did not start orch's script."""
        return self.verdict(
            "shell",
            f"the login shell {what}{_printed(noise)}",
            f"check with: {self.target.command('/bin/sh', '-c', 'true')}, and remove output from the "
            "shell's start-up files",
            command=self.ssh,
        )


def _printed(noise: bytes) -> str:
    return f" (it printed: {printable(noise)})" if noise.strip() else ""
