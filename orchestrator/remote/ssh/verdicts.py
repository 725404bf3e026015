"""Why a node cannot be reached, as one sentence and one remedy with the real names filled in."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

from orchestrator.errors import Unreachable
from orchestrator.remote.grouped_errors import login_of
from orchestrator.remote.ssh.config import Target
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


# What a gateway's sshd says of a connection that it cannot open, in small letters -> the cause.
_SIGNS = {
    "refused": "refused",
    "timed out": "timed-out",
    "no route": "no-route",
    "name or service": "name",
    "resolv": "name",
    "unreachable": "no-route",
}


def with_place(verdict: Unreachable, target: Target) -> Unreachable:
    """Return the verdict with what of its words is the node's own."""
    login = login_of(verdict.command) if verdict.command else ""
    return replace(verdict, place=printable(target.hostname), login=login)


def not_connected(node: str, target: Target, error: OSError, timeout: float) -> Unreachable:
    """Return the verdict on a TCP connection, or name look-up, that failed with `error`."""
    where = target.endpoint
    if isinstance(error, socket.gaierror):
        return Unreachable(
            node,
            "name",
            f"the name {printable(target.hostname)} does not resolve ({error.strerror})",
            "correct the address in the inventory, or add the name to DNS, /etc/hosts or "
            "~/.ssh/config",
        )
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return Unreachable(
            node,
            "timed-out",
            f"no answer from {where} within {timeout:g} s",
            f"check that the machine is up and that no firewall drops port {target.port}",
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            node,
            "refused",
            f"{where} refuses connections: nothing listens on port {target.port} there",
            "start sshd on the node, or give the right port in the inventory",
        )
    # The words of asyncio, and of Python, are those of programmers: "Connect call failed ('10.0.0.9', 22)".
    reason = os.strerror(error.errno) if error.errno else printable(str(error))
    route = "no route to" if error.errno in _NO_ROUTE else "cannot connect to"
    return Unreachable(
        node,
        "no-route",
        f"{route} {where} ({reason})",
        "check the address, the network, and whether the node needs a proxy_jump",
    )


def name_timed_out(node: str, target: Target, timeout: float) -> Unreachable:
    """Return the verdict on a name that the resolver did not answer for."""
    return Unreachable(
        node,
        "timed-out",
        f"the name {printable(target.hostname)} did not resolve within {timeout:g} s",
        "check this machine's DNS, or give an IP address in the inventory",
    )


def not_through(node: str, target: Target, gateway: Target, error: Exception) -> Unreachable:
    """Return the verdict on a connection that a gateway could not, or may not, open."""
    reason = printable(getattr(error, "reason", "") or str(error)) or "no reason given"
    said = reason.lower()
    cause = next((cause for sign, cause in _SIGNS.items() if sign in said), "gateway")
    return Unreachable(
        node,
        cause,
        f"gateway {printable(gateway.label)} cannot connect to {target.endpoint} ({reason})",
        f"check from the gateway: {gateway.command('nc', '-vz', target.hostname, str(target.port))}",
    )


def by_command(verdict: Unreachable, said: bytes) -> Unreachable:
    """Return `verdict` on a node behind a ProxyCommand with what the command had to say."""
    if not said.strip():
        return verdict
    message = f"{verdict.message} (its ProxyCommand says: {printable(said)})"
    return replace(verdict, message=message)


def behind(node: str, gateway: Unreachable) -> Unreachable:
    """Return the verdict on a node whose gateway cannot be reached."""
    message = f"its gateway {gateway.node} cannot be reached: {gateway.message}"
    return Unreachable(node, "gateway", message, gateway.remedy)


def host_key_unknown(node: str, target: Target, kind: str, fingerprint: str) -> Unreachable:
    """Return the verdict on a host whose key no file knows."""
    return Unreachable(
        node,
        "host-key-unknown",
        f"the host key of {target.endpoint} is not known ({kind} {fingerprint})",
        f"compare the fingerprint, then connect once with: {target.command()} "
        f"(or trust new hosts with --accept-new)",
        command=target.command(),
        evidence=f"{kind} {fingerprint}",
    )


def known_hosts_unreadable(node: str, error: Unreadable) -> Unreachable:
    """Return the verdict on a host whose key is looked up in a file that is none."""
    return Unreachable(
        node,
        "host-key-unknown",
        f"the host key cannot be looked up: {error}",
        "correct known_hosts in the inventory, or UserKnownHostsFile in ~/.ssh/config",
    )


def host_key_changed(
    node: str, target: Target, kind: str, offered: str, known: str, where: str, lookup: str
) -> Unreachable:
    """Return the verdict on a host whose key is not the one that a file knows."""
    forget = line_to_paste(["ssh-keygen", "-f", where.rpartition(":")[0], "-R", lookup])
    return Unreachable(
        node,
        "host-key-changed",
        f"THE HOST KEY of {target.endpoint} HAS CHANGED: {printable(where, 400)} knows {known}, "
        f"it offers {kind} {offered}",
        f"if the machine was reinstalled: {forget}; if not, someone may be listening in",
    )


def authority_unknown(node: str, target: Target, fingerprint: str) -> Unreachable:
    """Return the verdict on a host certificate signed by an authority that no file trusts."""
    return Unreachable(
        node,
        "host-key-unknown",
        f"the host certificate of {target.endpoint} is signed by an unknown authority "
        f"({fingerprint})",
        "add the authority to known_hosts as @cert-authority, if you trust it",
    )


def shell_hangs(node: str, target: Target, seconds: float, noise: bytes) -> Unreachable:
    """Return the verdict on a login shell that has not come to our script: it never comes back from its
    start-up files.
    """
    said = f" (it printed: {printable(noise)})" if noise.strip() else ""
    return Unreachable(
        node,
        "shell",
        f"the login shell did not run orch's command within {seconds:g} s{said}: a start-up file "
        "(~/.bashrc, say) starts another shell, waits for input, or sleeps",
        f"check with: {target.command('true')}; then have the file end where nobody types, with this as "
        "its first line: case $- in *i*) ;; *) return ;; esac",
        command=target.command(),
    )


def shell_failed(node: str, target: Target, what: str, noise: bytes) -> Unreachable:
    """Return the verdict on a login shell that did not start our script."""
    said = f" (it printed: {printable(noise)})" if noise.strip() else ""
    return Unreachable(
        node,
        "shell",
        f"the login shell {what}{said}",
        f"check with: {target.command('/bin/sh', '-c', 'true')}, and quiet the shell's start-up files",
        command=target.command(),
    )
