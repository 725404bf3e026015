"""Spare a connection work of asyncssh that no one has a use for.

asyncssh sends an empty packet (SSH_MSG_IGNORE) before each one: a measure against attacks on ciphers in CBC
mode (RFC 4251, 9.3.1), which no other mode needs. Without it there are half as many packets to encrypt, and
calls to the kernel, here and in sshd. asyncssh also makes a text of each packet for its log before it asks
whether anyone reads that log.
"""

from __future__ import annotations

import logging
from typing import Any

from asyncssh.constants import MSG_IGNORE

_NO_CBC = ("-gcm@openssh.com", "chacha20-poly1305@openssh.com", "-ctr")


def spare(connection: Any) -> None:
    """Send no empty packets on a connection of asyncssh that needs none; log packets only for a reader."""
    send = connection.send_packet

    def send_packet(kind: int, *parts: bytes, **more: Any) -> None:
        if kind == MSG_IGNORE and parts == (_EMPTY,) and _is_safe(connection):
            return
        send(kind, *parts, **more)

    connection.send_packet = send_packet
    log_no_packets(connection)


def log_no_packets(handler: Any) -> None:
    """Make no texts of the packets of a connection or channel, unless asyncssh's log has them."""
    if not logging.getLogger("asyncssh").isEnabledFor(logging.DEBUG):
        handler.log_sent_packet = handler.log_received_packet = _ignore


_EMPTY = bytes(4)  # an empty string


def _is_safe(connection: Any) -> bool:
    return str(connection.get_extra_info("send_cipher", "")).endswith(_NO_CBC)


def _ignore(*_: Any, **__: Any) -> None:
    """Log nothing."""
