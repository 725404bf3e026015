"""Why a node cannot be reached, as one sentence and one remedy with the real names filled in."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.identities import Offer
from orchestrator.remote.ssh_config import Target
from orchestrator.remote.text import printable

if TYPE_CHECKING:
    from orchestrator.remote.login import Login

_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


_TURNED_AWAY = "closed the connection before any SSH greeting"


def was_turned_away(verdict: Unreachable) -> bool:
    """Tell whether sshd may only have had too many handshakes at once (MaxStartups), of anybody's."""
    return verdict.cause == "protocol" and _TURNED_AWAY in verdict.message


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
    reason = error.strerror or printable(str(error))
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


def not_through(node: str, target: Target, gateway: str, error: Exception) -> Unreachable:
    """Return the verdict on a connection that a gateway could not, or may not, open."""
    reason = printable(getattr(error, "reason", "") or str(error)) or "no reason given"
    said = reason.lower()
    causes = {"refused": "refused", "timed out": "timed-out", "no route": "no-route"}
    causes |= {"name or service": "name", "resolv": "name", "unreachable": "no-route"}
    cause = next((cause for sign, cause in causes.items() if sign in said), "gateway")
    return Unreachable(
        node,
        cause,
        f"gateway {gateway} cannot connect to {target.endpoint} ({reason})",
        f"check from the gateway: ssh {gateway} nc -vz {target.hostname} {target.port}",
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


def not_logged_in(
    node: str, target: Target, login: Login, error: Exception, timeout: float
) -> Unreachable:
    """Return the verdict on an SSH handshake or authentication that failed with `error`."""
    where = target.endpoint
    if login.host_key_verdict is not None:
        return login.host_key_verdict
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _bad_host_key(node, target, login, error)
    greeted = login.connection is not None and login.connection.get_extra_info("server_version")
    if isinstance(error, TimeoutError):
        if not greeted:
            return _not_ssh(
                node,
                target,
                f"{where} accepts connections but says nothing SSH within {timeout:g} s",
            )
        stage = "authentication" if login.authenticating else "the SSH handshake"
        return Unreachable(
            node,
            "timed-out",
            f"{stage} with {where} did not end within {timeout:g} s",
            f"check the load of the node, and with: {target.ssh_command}",
        )
    if isinstance(error, asyncssh.PermissionDenied) or login.authenticating:
        return _denied(node, target, login, error)
    if not greeted:
        if isinstance(error, asyncssh.ConnectionLost | ConnectionError | BrokenPipeError):
            return Unreachable(
                node,
                "protocol",
                f"{where} {_TURNED_AWAY}",
                f"try again; if it stays, check MaxStartups in the node's sshd_config, "
                f"and with: {target.ssh_command}",
            )
        return _not_ssh(node, target, f"{where} does not speak SSH ({printable(str(error))})")
    return Unreachable(
        node,
        "protocol",
        f"the SSH handshake with {where} failed ({printable(str(error)) or type(error).__name__})",
        f"compare with: {target.ssh_command}",
    )


def _not_ssh(node: str, target: Target, message: str) -> Unreachable:
    remedy = f"check that port {target.port} is sshd's, or give the right port in the inventory"
    return Unreachable(node, "protocol", message, remedy)


def _bad_host_key(node: str, target: Target, login: Login, error: Exception) -> Unreachable:
    """A key that asyncssh itself rejects: revoked, or in a certificate that does not hold."""
    if login.known.revoked and "revoked" in str(error):
        places = ", ".join(entry.where for entry in login.known.revoked)
        return Unreachable(
            node,
            "host-key-changed",
            f"the host key of {target.endpoint} is revoked by {places}",
            "do not connect; ask whoever runs the machine for a new host key",
        )
    return Unreachable(
        node,
        "host-key-unknown",
        f"the host certificate of {target.endpoint} is not valid ({printable(str(error))})",
        f"check its validity and principals on the node, and with: {target.ssh_command}",
    )


def _denied(node: str, target: Target, login: Login, error: Exception) -> Unreachable:
    offer = login.offer or Offer((), (), ())
    tried = ", ".join(offer.names) if offer.names else "no key"
    message = f"{target.endpoint} does not let {target.user} in (tried {tried})"
    if not isinstance(error, asyncssh.PermissionDenied):
        message += f": {printable(str(error)) or 'it closed the connection'}"
    encrypted = [file.shown for file in offer.left_out if file.problem == "encrypted"]
    for file in offer.left_out:
        message += f"; {file.shown} is left out: {file.problem}"
    if encrypted:
        return Unreachable(node, "authentication", message, f"ssh-add {encrypted[0]}")
    port = "" if target.port == 22 else f"-p {target.port} "
    copy_id = f"ssh-copy-id {port}{target.user}@{target.hostname}"
    return Unreachable(node, "authentication", message, f"{copy_id}, or set user and identity_file")


def host_key_unknown(node: str, target: Target, kind: str, fingerprint: str) -> Unreachable:
    """Return the verdict on a host whose key no file knows."""
    return Unreachable(
        node,
        "host-key-unknown",
        f"the host key of {target.endpoint} is not known ({kind} {fingerprint})",
        f"compare the fingerprint, then connect once with: {target.ssh_command} "
        f"(or trust new hosts with --accept-new)",
    )


def host_key_changed(
    node: str, target: Target, kind: str, offered: str, known: str, where: str, lookup: str
) -> Unreachable:
    """Return the verdict on a host whose key is not the one that a file knows."""
    return Unreachable(
        node,
        "host-key-changed",
        f"THE HOST KEY of {target.endpoint} HAS CHANGED: {where} knows {known}, "
        f"it offers {kind} {offered}",
        f"if the machine was reinstalled: ssh-keygen -f {where.rpartition(':')[0]} -R '{lookup}'; "
        f"if not, someone may be listening in",
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


def shell_failed(node: str, host: str, what: str, noise: bytes) -> Unreachable:
    """Return the verdict on a login shell that did not start our script."""
    said = f" (it printed: {printable(noise)})" if noise.strip() else ""
    return Unreachable(
        node,
        "shell",
        f"the login shell {what}{said}",
        f"check with: ssh {host} exec /bin/sh -c true, and quiet the shell's start-up files",
    )
