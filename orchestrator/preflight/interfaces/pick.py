"""Which interface carries the job on each node, and what NCCL and gloo make of the user's settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Status,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, warn

NCCL, GLOO = "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"
_LOGIN = "the node's login environment"

_LAST = ("docker", "lo", "virbr")  # what NCCL takes only where there is nothing else
_VIRTUAL = (
    "br-",
    "cali",
    "cni",
    "docker",
    "flannel",
    "tailscale",
    "tap",
    "tun",
    "veth",
    "virbr",
    "wg",
)


def nccl_alone(names: Sequence[str]) -> str | None:
    """Return which of these running interfaces, in the kernel's order, NCCL meets on by itself.

    The first `ib*`, else the first that is not docker*, lo* or virbr*, else those in this order
    (ncclFindInterfaces of NCCL 2.30).
    """
    orders = [
        [name for name in names if name.startswith("ib")],
        [name for name in names if not name.startswith(_LAST)],
        *([name for name in names if name.startswith(last)] for last in _LAST),
    ]
    return next((name for order in orders for name in order), None)


def nccl_matches(value: str, names: Sequence[str]) -> list[str]:
    """Return which of `names` a NCCL_SOCKET_IFNAME means.

    It is a list of prefixes; with `=` before it of whole names, with `^` of what is not wanted.
    """
    unwanted = value.startswith("^")
    exact = value[unwanted:].startswith("=")
    entries = [entry.partition(":")[0] for entry in value[unwanted + exact :].split(",")]
    entries = [entry for entry in entries if entry]

    def listed(name: str) -> bool:
        return name in entries if exact else name.startswith(tuple(entries))

    return [name for name in names if listed(name) != unwanted]


def gloo_matches(value: str, names: Sequence[str]) -> list[str]:
    """Return the interfaces that a GLOO_SOCKET_IFNAME means; none when one of it is not in `names`.

    torch takes a list of whole names, and dies of the first that is no interface.
    """
    entries = value.split(",")
    return entries if all(entry in names for entry in entries) else []


@dataclass(frozen=True)
class _Choice:
    """A variable that the user has set, and where."""

    name: str
    value: str
    place: str


def _choices(node: NodeContext) -> Iterator[_Choice]:
    places = (
        ("the job's environment", node.context.job.environment),
        ("the inventory's env", node.host.env),
        (_LOGIN, node.facts.environment),
    )
    for name in (NCCL, GLOO):
        for place, environment in places:
            if name in environment:
                if len(environment[name]) > 1:  # less is as if it were not set, to both
                    yield _Choice(name, environment[name], place)
                break


def _pick(context: Context) -> list[Finding]:
    trouble = context.trouble.get("nic.pick")
    if trouble is not None:
        message = "; ".join(trouble.message.splitlines())
        return for_all(context, fail(message, trouble.remedy or None))
    return to_findings(
        (node.name, verdict) for node in context.nodes for verdict in _verdicts(node)
    )


def _verdicts(node: NodeContext) -> Iterator[Verdict]:
    names = [interface.name for interface in node.facts.interfaces]
    wrong = [found for wish in _choices(node) if (found := _judge(wish, node, names))]
    yield from wrong
    if not any(verdict.status is Status.FAIL for verdict in wrong):
        yield _place(node, names)


def _judge(wish: _Choice, node: NodeContext, names: Sequence[str]) -> Verdict | None:
    """Return what is wrong with a choice; None for nothing."""
    ours = node.plan.interface
    taken = (nccl_matches if wish.name == NCCL else gloo_matches)(wish.value, names)
    data = {"variable": wish.name, "value": wish.value, "place": wish.place, "interfaces": names}
    instead = f": orch then sets it to {ours}" if ours else ""
    text = f"take {wish.name} out of {wish.place}{instead}"
    said = f"{wish.name}={wish.value} of {wish.place}"
    if not taken:
        rule = (
            ""
            if wish.name == NCCL
            else " (gloo wants whole names: no prefix, no ^, no =, no address)"
        )
        there = ", ".join(names)
        message = f"{said} is none of its interfaces, {there}{rule}"
        # A login may set for NCCL what is meant for other nodes, those with GPUs.
        gpus = count_gpus(node.host, node.facts, node.context.job)
        unused = wish.name == NCCL and wish.place == _LOGIN and not gpus
        return Verdict(Status.WARN if unused else Status.FAIL, message, text, data=data)
    if ours is not None and taken[0] != ours:
        message = f"{said} takes {taken[0]}, but {ours} leads to main's {_main(node)}"
        return warn(message, text, data=data)
    return None


def _place(node: NodeContext, names: Sequence[str]) -> Verdict:
    """Return where the node's ranks meet the others."""
    plan, context = node.plan, node.context.plan
    alone = nccl_alone(names)
    sets = {name: plan.environment[name] for name in (NCCL, GLOO) if name in plan.environment}
    data = {
        "interface": plan.interface,
        "address": plan.address,
        "subnet": context.subnet,
        "nccl_alone": alone,
        "environment": sets,
    }
    if plan.interface == "lo":
        return passed("lo: all nodes are one machine", data=data)
    if plan.interface is None or context.subnet is None:
        return warn(
            f"the nodes share no subnet: routing leads to main's {_main(node)} by "
            f"{plan.interface or 'an interface that is not known'}",
            "where there is a network that all nodes are on, give main's address there: "
            "`main: {address: ...}` in the inventory, or --main-address",
            data=data,
        )
    message = f"{plan.interface} in {context.subnet}"
    if alone not in (None, plan.interface) and sets.get(NCCL) == f"={plan.interface}":
        kind = ", a virtual one" if str(alone).startswith(_VIRTUAL) else ""
        message += f", which orch tells NCCL: by itself it would take {alone}{kind}"
    return passed(message, data=data)


def _main(node: NodeContext) -> str:
    return node.context.plan.main_address


PICK = Check(
    id="nic.pick",
    group=Group.INTERFACE,
    level=Level.QUICK,
    meaning="all nodes meet on one network, by an interface that NCCL and gloo are told",
    page="The interface on each node whose subnet all nodes share, and which leads to main; orch sets "
    "NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to it, whose names may differ by node. It says which "
    "NCCL would take by itself: the first `ib*`, else the first running interface that is not `docker*`, "
    "`lo*` or `virbr*`, be it a bridge of containers or a VPN. Without a shared subnet it warns that "
    "routing is used. A variable that you set yourself fails where it is none of the node's interfaces "
    "(NCCL takes prefixes, `=` for a whole name, `^` for what is not wanted; gloo takes whole names only), "
    "and warns where it means another interface than the one that leads to main, or where it is NCCL's, "
    "from the login environment of a node without a GPU.",
    verdict=_pick,
)
