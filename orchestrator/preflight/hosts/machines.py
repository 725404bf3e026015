"""The hosts themselves: whether each one is a machine of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.node.visible import CUDA
from orchestrator.preflight.answers import reader
from orchestrator.preflight.hosts import login, orphans
from orchestrator.preflight.hosts.reached import check_reach
from orchestrator.preflight.hosts.rsync import check_rsync
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    NoAnswer,
    Probe,
    Remedy,
    check,
)
from orchestrator.preflight.verdict import fail, incomplete, passed, warn
from orchestrator.util.groups import grouped
from orchestrator.util.text import printable

V = TypeVar("V", bound=Hashable)

_NEW_MACHINE_ID = "rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup"


@dataclass(frozen=True)
class Identity:
    """Ids that no other machine should have; `mac` is the training interface's, `gpus` those of the job."""

    machine: str | None
    boot: str | None
    mac: str | None
    gpus: frozenset[str]


IDENTITY = Probe(
    "host.identity",
    reader(Identity),
    lambda node: {"interface": node.plan.interface, "visible": node.plan.environment.get(CUDA)},
)


@check("host.unique", Group.HOST, probes=(IDENTITY,))
def check_unique(context: Context) -> list[Finding]:
    """No two names are one machine, and no two machines look like one.

    Compares the running kernel and network, `/etc/machine-id`, the hardware address of the training
    interface, and the UUIDs of NVIDIA GPUs.

    Fails for two names of one machine among others (list a machine once, with its devices; no launch starts
    then, so this is reported at any level), for one hardware address on two machines of a subnet, and for a
    GPU that the ranks of two nodes see. Warns of one machine-id on two machines, which are clones that a
    DHCP server may confuse, and of containers of one machine with one host name, which NCCL takes for one
    host. All names being one machine is fine: a job of several nodes can be tried that way.
    """
    facts = dict(zip(context.names, context.facts, strict=True))
    same = _shared((each.identity, name) for name, each in facts.items())
    if any(len(names) == len(context.names) for names in same.values()):
        return for_all(context, passed("are all this one machine, as for a job on one machine"))
    findings = [
        fail(
            f"are {len(names)} names of one machine ({printable(facts[names[0]].hostname)})",
            "list each machine once, with the number of its devices",
        ).on(names)
        for names in same.values()
    ]
    known = context.answers_to(IDENTITY)
    findings += [*_clones(known), *_same_interface(context, known), *_same_gpus(known)]
    hosts = _shared(((one.boot, facts[name].hostname), name) for name, one in known.items())
    findings += [
        warn(
            f"are containers of one machine that are all called {printable(hostname)}: NCCL takes them for "
            "one host",
            "give each its own name (docker: --hostname)",
        ).on(names)
        for (boot, hostname), names in hosts.items()
        if boot is not None and names not in same.values()
    ]
    findings += to_findings(
        (name, incomplete(answer.reason))
        for name, answer in context.of(IDENTITY).items()
        if isinstance(answer, NoAnswer)
    )
    return findings or for_all(context, passed("are machines of their own"))


def _clones(known: Mapping[str, Identity]) -> Iterable[Finding]:
    """Yield findings for machines with one machine-id; containers of one machine may share it."""
    for names in _shared((one.machine, name) for name, one in known.items()).values():
        if len({known[name].boot for name in names}) > 1:
            fix = "give all but the first an id of its own, and restart them"
            finding = warn(
                "have one /etc/machine-id: they are clones of one image, and a DHCP server may give them "
                "one address"
            ).on(names)
            yield replace(finding, remedy=Remedy(fix, (_NEW_MACHINE_ID,), tuple(names[1:])))


def _same_interface(context: Context, known: Mapping[str, Identity]) -> Iterable[Finding]:
    if context.plan.subnet is None:
        return  # behind routers one address may be in use on both sides
    for mac, names in _shared((one.mac, name) for name, one in known.items()).items():
        if len({known[name].boot for name in names}) > 1 and mac.strip("0:"):
            yield fail(
                f"have one hardware address, {mac}, on the interface of the training network: packets for "
                "one reach another",
                "give each machine (or virtual machine) a hardware address of its own",
            ).on(names)


def _same_gpus(known: Mapping[str, Identity]) -> Iterable[Finding]:
    shared = _shared((gpu, name) for name, one in known.items() for gpu in one.gpus)
    for names, gpus in grouped((tuple(names), gpu) for gpu, names in shared.items()).items():
        yield fail(
            f"see the same GPU{'s' if len(gpus) > 1 else ''} ({', '.join(sorted(gpus)[:4])}): NCCL refuses "
            "two ranks on one GPU",
            "give each container GPUs of its own, or list the machine once",
            data={"gpus": sorted(gpus)},
        ).on(names)


def _shared(pairs: Iterable[tuple[V | None, str]]) -> dict[V, list[str]]:
    """Return the values that several names have, and those names."""
    names = grouped((value, name) for value, name in pairs if value is not None)
    return {value: own for value, own in names.items() if len(own) > 1}


CHECKS: tuple[Check, ...] = (
    check_reach,
    check_rsync,
    login.check_clean,
    check_unique,
    orphans.check_orphans,
    login.check_linger,
)
