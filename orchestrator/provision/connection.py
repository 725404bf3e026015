"""Fabric connections that accept only known host keys, and messages for failed ones."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

from fabric import Connection
from invoke.exceptions import CommandTimedOut
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    PasswordRequiredException,
    RejectPolicy,
    SSHException,
)

from orchestrator.inventory import Host
from orchestrator.provision.steps import CannotPrepare
from orchestrator.util.quoting import command_line, line_to_paste
from orchestrator.util.text import printable

CONNECT_TIMEOUT = 10  # seconds, for the TCP connection and for each step of a login
_UNKNOWN_HOST = "not found in known_hosts"  # paramiko's message if RejectPolicy rejects a key
FAILURES = (SSHException, OSError, EOFError)
"""Errors of a connection that cannot be made, or that breaks."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # or it prints tracebacks


def connection(host: Host) -> Connection:
    """Return a connection, not opened yet; host keys of gateways must be known too."""
    gateway = None
    if host.proxy_jump and host.proxy_jump != "none":
        for jump in host.proxy_jump.split(","):
            gateway = Connection(jump, gateway=gateway)
    target = Connection(
        host.address,
        user=host.user,
        port=host.port,
        gateway=False if host.proxy_jump == "none" else gateway,
        connect_kwargs={"key_filename": host.identity_file} if host.identity_file else {},
    )
    for hop in hops(target):
        hop.client.set_missing_host_key_policy(RejectPolicy())  # Fabric's own accepts any
        hop.client.load_system_host_keys()
        for file in (host.known_hosts, "/etc/ssh/ssh_known_hosts"):
            if file and Path(file).exists():
                hop.client.load_system_host_keys(file)
        hop.connect_timeout = CONNECT_TIMEOUT
        timeouts = ("banner_timeout", "auth_timeout", "channel_timeout")
        hop.connect_kwargs.update(dict.fromkeys(timeouts, CONNECT_TIMEOUT))
    return target


def hops(last: Connection) -> Iterator[Connection]:
    """Yield the connection, and those to the gateways it goes through."""
    hop = last
    while isinstance(hop, Connection):
        yield hop
        hop = hop.gateway


def run_command(node: Connection, argv: tuple[str, ...], timeout: int) -> str:
    """Return what a command prints. Raises CannotPrepare if it fails or takes over `timeout` seconds."""
    shown = argv[0] if argv[1:2] == ("-c",) else line_to_paste(argv)
    try:
        done = node.run(command_line(argv), hide=True, warn=True, in_stream=False, timeout=timeout)
    except CommandTimedOut:
        raise CannotPrepare(f"`{shown}` did not end within {timeout} s") from None
    if not done.ok:
        cause = _error_line(done.stderr.strip() or done.stdout.strip() or "no message")
        message = f"`{shown}` failed with exit code {done.exited}: {printable(cause)}"
        raise CannotPrepare(message)
    return str(done.stdout)


def _error_line(output: str) -> str:
    """Return the first line that pip or apt marks as an error, else the last line."""
    lines = output.splitlines()
    return next((line for line in lines if line.startswith(("ERROR:", "E:"))), lines[-1])


def connect_problem(host: Host, error: BaseException) -> str:
    """Return why there is no connection, and what to do; `error` is one of FAILURES."""
    user = f"{host.user}@" if host.user else ""
    ssh = line_to_paste(
        ["ssh", *(["-p", str(host.port)] if host.port else []), user + host.address]
    )
    if isinstance(error, BadHostKeyException):
        known, offered = error.expected_key.fingerprint, error.key.fingerprint
        forget = line_to_paste(["ssh-keygen", "-R", host.address])
        return (
            f"its host key has changed: known is {known}, it shows {offered}; if the machine was "
            f"reinstalled, remove the old key: {forget}"
        )
    if isinstance(error, PasswordRequiredException):
        return "the key to log in with is encrypted: load it with ssh-add"
    if isinstance(error, AuthenticationException):
        return f"it accepts none of your keys: ssh-copy-id {user}{host.address}"
    if isinstance(error, socket.gaierror):
        return f"the name {host.address} does not resolve: correct the address in the inventory"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT} s: check that it is up, and that no firewall drops SSH"
    if _UNKNOWN_HOST in str(error):
        return f"its host key is not known: connect once and compare the fingerprint: {ssh}"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{printable(reason)}: see what `{ssh}` prints"
