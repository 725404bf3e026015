"""Resolve a host name and connect by TCP, without waiting for the look-ups of other hosts."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence

from orchestrator.util.log import logger

Address = tuple[int, str, int]  # family, IP address (with scope), port

log = logger("ssh")


async def resolve_name(host: str, port: int, family: int) -> Sequence[Address]:
    """Return the addresses of `host`, in the resolver's order; raises socket.gaierror.

    Each name has its own thread, so that a resolver that hangs on one name delays neither the other
    names (asyncio's own pool is small) nor the end of the program.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[Address]] = loop.create_future()

    def deliver(found: Sequence[Address], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found: Sequence[Address] = ()
        problem: OSError | None = None
        try:
            found = _addresses(host, port, family)
        except OSError as error:
            problem = error
        except UnicodeError:  # a label that IDNA does not know
            problem = socket.gaierror(socket.EAI_NONAME, "not a host name")
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, found, problem)

    if _is_literal(host):
        return _addresses(host, port, family)
    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    return await answer


async def dial(addresses: Sequence[Address], bind: str | None, timeout: float) -> socket.socket:
    """Return a socket connected to the first address that answers.

    Each address gets an equal share of the remaining part of `timeout` (seconds). Raises the OSError of
    the last address that failed, which may be a TimeoutError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    error: OSError = OSError("the name has no address")
    for index, (family, address, port) in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - index)
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            if bind:
                sock.bind((bind, 0))
            log.debug(
                "waiting for a TCP connection to %s port %d, %.1f s at most", address, port, share
            )
            async with asyncio.timeout(share):
                await loop.sock_connect(sock, (address, port))
            log.debug("TCP connection to %s port %d made", address, port)
            return sock
        except OSError as failure:  # TimeoutError is one
            log.debug(
                "no TCP connection to %s port %d: %s", address, port, str(failure) or "timed out"
            )
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
    raise error


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _addresses(host: str, port: int, family: int) -> Sequence[Address]:
    found: dict[Address, None] = {}
    for kind, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
        literal = str(address[0])
        if len(address) == 4 and address[3] and "%" not in literal:
            literal += f"%{address[3]}"
        found[(int(kind), literal, port)] = None
    return tuple(found)
