"""Who holds the port that a rank could not listen on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.control.looks.holder import Holder
from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe
from orchestrator.util.text import counted

_MAX_PORTS = 4
# "port: 29500", "[::]:29500", "127.0.0.1:6006", "('0.0.0.0', 8265)", "bind(("", 6006))"
_PORT = re.compile(r"(?:\b[Pp]ort\W{0,3}|\]:|\d:|localhost:|\*:|['\"], ?)(?P<port>\d{2,5})\b(?!\.)")
_ABOUT_PORTS = re.compile(r"bind|listen|serve|\bport|address", re.I)


@dataclass(frozen=True)
class PortHolder(Holder):
    """A process that listens on a port, or has a connection from it."""

    address: str
    listens: bool


@dataclass(frozen=True)
class HeldPort:
    """A port, its holders, and how many closed connections the kernel still keeps for it."""

    port: int
    holders: tuple[PortHolder, ...]
    waiting: int


PORTS: Probe[tuple[HeldPort, ...]] = Probe("holders.ports", reader(tuple[HeldPort, ...]))


def _asks(subject: Subject) -> Mapping[str, Mapping[str, Any]]:
    named = list(dict.fromkeys(_named(subject)))
    return {PORTS.name: {"numbers": (named or [subject.main_port])[:_MAX_PORTS]}}


def _named(subject: Subject) -> Iterator[int]:
    """Yield the ports that the output names as those it wanted."""
    for number, text in enumerate(subject.texts):
        if number and not _ABOUT_PORTS.search(text):
            continue
        for found in _PORT.finditer(text[:1000]):
            port = int(found["port"])
            if 0 < port < 65536 and port != 98:  # EADDRINUSE
                yield port


def judge(subject: Subject, known: Known) -> Finding:
    """Return who holds the port."""
    answer = known.of(PORTS)
    if isinstance(answer, NoAnswer):
        return unanswered("ports", answer)
    looked, cause = [], None
    for held in answer:
        if not held.holders:
            kept = f", {counted(held.waiting, 'closed connection')} kept" if held.waiting else ""
            looked.append(f"port {held.port}: free now{kept}")
            continue
        holder = held.holders[0]
        how = "listens on" if holder.listens else "has a connection from"
        looked.append(f"port {held.port}: {holder.name} {how} {holder.address}")
        cause = cause or _explain(subject, held.port, holder)
    return Finding(tuple(looked), cause)


def _explain(subject: Subject, port: int, holder: PortHolder) -> Cause:
    cause = f"port {port} is held by {holder.described(subject)}"
    if holder.is_of(subject):
        return Cause(
            cause,
            f"give each rank of a node a port of its own, such as {port} + int(os.environ['LOCAL_RANK']), "
            "or let one rank listen (LOCAL_RANK 0)",
        )
    other = (
        f"use another port (orch launch --main-port {port + 1 if port < 65535 else 29500})"
        if port == subject.main_port
        else "use another port in the script"
    )
    if holder.run:
        return Cause(cause, f"orch stop {holder.run}, if nobody needs that run; or {other}")
    end = holder.way_to_end
    if not holder.listens:
        return Cause(
            cause,
            f"{other}, below the range of outgoing connections (sysctl net.ipv4.ip_local_port_range)",
        )
    left = f"{end} on {subject.node.name}, if it is left over; or " if end else ""
    return Cause(cause, left + other)


PORTS_LOOK = Look("ports", (PORTS,), _asks, judge)
