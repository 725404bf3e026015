"""A Fabric connection to a host that trusts known host keys only; and why there is none, in a sentence."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

from fabric import Connection
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    PasswordRequiredException,
    RejectPolicy,
    SSHException,
)

from orchestrator.inventory import Host
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

CONNECT = 10  # seconds, also for every step of a login
_UNKNOWN_HOST = "not found in known_hosts"  # paramiko, of a host key that RejectPolicy rejects
FAILURES = (SSHException, OSError, EOFError)
"""What a connection raises that cannot be made, or breaks."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # or it prints tracebacks


def connection(host: Host) -> Connection:
    """Return a connection, not opened yet, that trusts known host keys only, through gateways too."""
    gateway = None
    if host.proxy_jump and host.proxy_jump != "none":
        for jump in host.proxy_jump.split(","):
            gateway = Connection(jump, gateway=gateway)
    keys = {"key_filename": host.identity_file} if host.identity_file else {}
    made = Connection(
        host.address,
        user=host.user,
        port=host.port,
        gateway=False if host.proxy_jump == "none" else gateway,
        connect_kwargs=keys,
    )
    for hop in hops(made):
        hop.client.set_missing_host_key_policy(RejectPolicy())  # Fabric's own accepts any
        hop.client.load_system_host_keys()
        for file in (host.known_hosts, "/etc/ssh/ssh_known_hosts"):
            if file and Path(file).exists():
                hop.client.load_system_host_keys(file)
        hop.connect_timeout = CONNECT
        hop.connect_kwargs.update(
            banner_timeout=CONNECT, auth_timeout=CONNECT, channel_timeout=CONNECT
        )
    return made


def hops(last: Connection) -> Iterator[Connection]:
    """Yield the connection, and those to the gateways on the way."""
    hop = last
    while isinstance(hop, Connection):
        yield hop
        hop = hop.gateway


def why_not(host: Host, error: BaseException) -> str:
    """Return why there is no connection, and what to do; `error` is one of FAILURES."""
    user = f"{host.user}@" if host.user else ""
    ssh = line_to_paste(
        ["ssh", *(["-p", str(host.port)] if host.port else []), user + host.address]
    )
    if isinstance(error, BadHostKeyException):
        known, shown = error.expected_key.fingerprint, error.key.fingerprint
        return (
            f"its host key has changed: known is {known}, it shows {shown}; if it was installed anew, "
            f"remove the old key: {line_to_paste(['ssh-keygen', '-R', host.address])}"
        )
    if isinstance(error, PasswordRequiredException):
        return "the key to log in with is encrypted: load it with ssh-add"
    if isinstance(error, AuthenticationException):
        return f"it accepts none of your keys: ssh-copy-id {user}{host.address}"
    if isinstance(error, socket.gaierror):
        return f"the name {host.address} does not resolve: correct the address in the inventory"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT} s: is it up, and does no firewall drop SSH?"
    if _UNKNOWN_HOST in str(error):
        return f"its host key is not known: connect once and compare the fingerprint: {ssh}"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{printable(reason)}: see what `{ssh}` says"
