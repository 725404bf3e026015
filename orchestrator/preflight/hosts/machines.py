"""The hosts themselves: is each one a machine of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.hosts import login, orphans
from orchestrator.preflight.hosts.reached import check_reach
from orchestrator.preflight.hosts.rsync import check_rsync
from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    NoAnswer,
    Probe,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import incomplete, passed
from orchestrator.util.text import printable

V = TypeVar("V")

_NEW_MACHINE_ID = "rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup"


@dataclass(frozen=True)
class Identity:
    """Ids that no other machine should have; `mac` is the training interface's."""

    machine: str | None
    boot: str | None
    mac: str | None
    gpus: frozenset[str]

    @classmethod
    def parse(cls, raw: Any) -> Identity:
        return cls(
            machine=optional(text, raw["machine"]),
            boot=optional(text, raw["boot"]),
            mac=optional(text, raw["mac"]),
            gpus=frozenset(map(text, raw["gpus"])),
        )


IDENTITY = Probe(
    "host.identity", Identity.parse, arguments=lambda node: {"interface": node.plan.interface}
)


@check("host.unique", Group.HOST, probes=(IDENTITY,))
def check_unique(context: Context) -> list[Finding]:
    """No two names are one machine, and no two machines pass for one.

    Compares the running kernel and network, `/etc/machine-id`, the hardware address of the training
    interface, and the UUIDs of NVIDIA GPUs.

    Fails for two names of one machine among others (a machine is listed once, with its devices; no launch
    starts then, so this is told at any level), for one hardware address on two machines of a subnet, and
    for a GPU that two nodes see. Warns of one machine-id on two machines, which are clones that a DHCP
    server may take for one another, and of containers of one machine with one host name, which NCCL takes
    for one host. That all names are one machine is no fault: a job of several nodes can be tried so.
    """
    by_name = dict(zip(context.names, context.facts, strict=True))
    same = _shared({name: facts.identity for name, facts in by_name.items()})
    if any(len(names) == len(context.names) for names in same.values()):
        return for_all(context, passed("are all this one machine, as a job on one machine has it"))
    findings = [
        Finding(
            Status.FAIL,
            names,
            f"are {len(names)} names of one machine ({printable(by_name[names[0]].hostname)})",
            Remedy("list each machine once, with the number of its devices", (), names),
        )
        for names in same.values()
    ]
    found = context.of(IDENTITY)
    known = {name: answer for name, answer in found.items() if isinstance(answer, Identity)}
    findings += _clones(known) + _same_interface(context, known) + _same_gpus(known)
    hosts = _shared({n: (known[n].boot, by_name[n].hostname) for n in known})
    findings += [
        Finding(
            Status.WARN,
            names,
            f"are containers of one machine that are all called {printable(hostname)}: NCCL takes "
            "them for one host",
            Remedy("give each its own name (docker: --hostname)", (), names),
        )
        for (boot, hostname), names in hosts.items()
        if boot is not None and names not in same.values()
    ]
    for name, answer in found.items():
        if isinstance(answer, NoAnswer):
            verdict = incomplete(answer.reason)
            findings.append(Finding(verdict.status, (name,), verdict.message))
    return findings or for_all(context, passed("are machines of their own"))


def _clones(known: Mapping[str, Identity]) -> list[Finding]:
    """Containers of one machine may well show one machine-id; two machines never should."""
    findings = []
    for names in _shared({name: one.machine for name, one in known.items()}).values():
        if len({known[name].boot for name in names}) > 1:
            remedy = "give all but the first an id of its own, and restart them"
            findings.append(
                Finding(
                    Status.WARN,
                    names,
                    "have one /etc/machine-id: images cloned from one machine, which a DHCP server may "
                    "give one address",
                    Remedy(remedy, (_NEW_MACHINE_ID,), names[1:]),
                )
            )
    return findings


def _same_interface(context: Context, known: Mapping[str, Identity]) -> list[Finding]:
    if context.plan.subnet is None:
        return []  # behind routers one address may be in use on both sides
    return [
        Finding(
            Status.FAIL,
            names,
            f"have one hardware address, {mac}, on the interface of the training network: packets for "
            "one reach another",
            Remedy(
                "give each machine (or virtual machine) a hardware address of its own", (), names
            ),
        )
        for mac, names in _shared({name: one.mac for name, one in known.items()}).items()
        if len({known[name].boot for name in names}) > 1 and mac.strip("0:")
    ]


def _same_gpus(known: Mapping[str, Identity]) -> list[Finding]:
    holders: dict[str, list[str]] = {}
    for name, one in known.items():
        for gpu in one.gpus:
            holders.setdefault(gpu, []).append(name)
    gpus: dict[tuple[str, ...], list[str]] = {}
    for gpu, names in holders.items():
        if len(names) > 1:
            gpus.setdefault(tuple(names), []).append(gpu)
    return [
        Finding(
            Status.FAIL,
            names,
            f"see the same GPU{'s' if len(shared) > 1 else ''} ({', '.join(sorted(shared)[:4])}): NCCL "
            "refuses two ranks on one GPU",
            Remedy("give each container GPUs of its own, or list the machine once", (), names),
            {"gpus": sorted(shared)},
        )
        for names, shared in gpus.items()
    ]


def _shared(values: Mapping[str, V | None]) -> dict[V, tuple[str, ...]]:
    """Return the values that several names have, and those names."""
    having: dict[V, list[str]] = {}
    for name, value in values.items():
        if value is not None:
            having.setdefault(value, []).append(name)
    return {value: tuple(names) for value, names in having.items() if len(names) > 1}


CHECKS: tuple[Check, ...] = (
    check_reach,
    check_rsync,
    login.check_clean,
    check_unique,
    orphans.check_orphans,
    login.check_linger,
)
