"""Why an SSH login failed, from what was seen of it: the handshake, the host key, the methods tried."""

from __future__ import annotations

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.identities import Offer
from orchestrator.remote.ssh.login import Login
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

_REVOKED = "revoked"  # asyncssh, of a host key or certificate


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
            f"check the load of the node, and with: {target.command()}",
            command=target.command(),
        )
    if isinstance(error, asyncssh.PermissionDenied) or login.authenticating:
        return _denied(node, target, login, error)
    if not greeted:
        if isinstance(error, asyncssh.ConnectionLost | ConnectionError | BrokenPipeError):
            return Unreachable(
                node,
                "protocol",
                f"{where} closed the connection before any SSH greeting",
                f"try again; if it stays, check MaxStartups in the node's sshd_config, "
                f"and with: {target.command()}",
                command=target.command(),
                is_busy=True,
            )
        return _not_ssh(node, target, f"{where} does not speak SSH ({printable(str(error))})")
    return Unreachable(
        node,
        "protocol",
        f"the SSH handshake with {where} failed ({printable(str(error)) or type(error).__name__})",
        f"compare with: {target.command()}",
        command=target.command(),
    )


def _not_ssh(node: str, target: Target, message: str) -> Unreachable:
    remedy = f"check that port {target.port} is sshd's, or give the right port in the inventory"
    return Unreachable(node, "protocol", message, remedy)


def _bad_host_key(node: str, target: Target, login: Login, error: Exception) -> Unreachable:
    """A key that asyncssh itself rejects: revoked, or in a certificate that does not hold."""
    if login.known.revoked and _REVOKED in str(error):
        places = printable(", ".join(entry.where for entry in login.known.revoked), 400)
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
        f"check its validity and principals on the node, and with: {target.command()}",
        command=target.command(),
    )


def _denied(node: str, target: Target, login: Login, error: Exception) -> Unreachable:
    offer = login.offer or Offer((), (), (), None)
    tried = ", ".join(offer.names) if offer.names else "no key"
    message = f"{target.endpoint} does not let {printable(target.user)} in (tried {tried})"
    if not isinstance(error, asyncssh.PermissionDenied):
        message += f": {printable(str(error)) or 'it closed the connection'}"
    encrypted = [file.path for file in offer.left_out if file.is_encrypted]
    for file in offer.left_out:
        message += f"; {file.shown} is left out: {file.problem}"
    if offer.agent_problem is not None:
        message += f"; the agent is left out: {offer.agent_problem}"
    if encrypted:
        add = line_to_paste(["ssh-add", encrypted[0]])
        return Unreachable(node, "authentication", message, add)
    copy_id = target.command(program="ssh-copy-id")
    remedy = f"{copy_id}, or set user and identity_file"
    return Unreachable(node, "authentication", message, remedy, command=copy_id)
