"""Which interface carries the job on each node, and how NCCL and gloo read the user's settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import Context, Finding, Group, Level, NodeContext, Status, check
from orchestrator.preflight.verdict import Verdict, fail, passed, warn

NCCL, GLOO = "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"
_LOGIN = "the node's login environment"

_LAST = ("docker", "lo", "virbr")  # NCCL uses these only if there is nothing else
_VIRTUAL = (
    "br-", "cali", "cni", "docker", "flannel", "tailscale", "tap", "tun", "veth", "virbr", "wg",
)  # fmt: skip


def nccl_alone(names: Sequence[str]) -> str | None:
    """Return which of these running interfaces, in the kernel's order, NCCL chooses by itself.

    The first `ib*`, else the first that is not docker*, lo* or virbr*, else those in this order
    (ncclFindInterfaces of NCCL 2.30).
    """
    orders = [
        [name for name in names if name.startswith("ib")],
        [name for name in names if not name.startswith(_LAST)],
        *([name for name in names if name.startswith(last)] for last in _LAST),
    ]
    return next(chain.from_iterable(orders), None)


def nccl_matches(value: str, names: Sequence[str]) -> list[str]:
    """Return which of `names` a NCCL_SOCKET_IFNAME selects.

    It is a list of prefixes; `=` before it makes them whole names, `^` excludes them.
    """
    unwanted = value.startswith("^")
    exact = value[unwanted:].startswith("=")
    entries = [entry.partition(":")[0] for entry in value[unwanted + exact :].split(",")]
    entries = [entry for entry in entries if entry]

    def listed(name: str) -> bool:
        return name in entries if exact else name.startswith(tuple(entries))

    return [name for name in names if listed(name) != unwanted]


def gloo_matches(value: str, names: Sequence[str]) -> list[str]:
    """Return the interfaces that a GLOO_SOCKET_IFNAME selects; none if one of them is not in `names`.

    torch takes a list of whole names, and fails at the first that is not an interface.
    """
    entries = value.split(",")
    return entries if all(entry in names for entry in entries) else []


@dataclass(frozen=True)
class _Setting:
    """A variable that the user has set, and where."""

    name: str
    value: str
    place: str

    def __str__(self) -> str:
        return f"{self.name}={self.value} of {self.place}"


def _settings(node: NodeContext) -> Iterator[_Setting]:
    places = (
        ("the job's environment", node.context.job.environment),
        ("the inventory's env", node.host.env),
        (_LOGIN, node.facts.environment),
    )
    for name in (NCCL, GLOO):
        setting = next(
            (_Setting(name, env[name], place) for place, env in places if name in env), None
        )
        if setting and len(setting.value) > 1:  # NCCL and gloo ignore a shorter value
            yield setting


@check("nic.pick", Group.INTERFACE, Level.QUICK)
def check_pick(context: Context) -> list[Finding]:
    """All nodes share one network, and NCCL and gloo use the interface on it.

    The interface on each node whose subnet all nodes share, and which leads to main. orch sets
    NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to it; its name may differ between nodes. The finding shows
    which interface NCCL would choose by itself: the first `ib*`, else the first running interface that is
    not `docker*`, `lo*` or `virbr*`, even a container bridge or a VPN. Without a shared subnet it warns
    that routing is used. A variable that you set yourself fails if it selects none of the node's
    interfaces (NCCL takes prefixes, `=` before whole names, `^` to exclude; gloo takes whole names only).
    It warns if it selects another interface than the one that leads to main, or if it is NCCL's, from the
    login environment of a node without a GPU.
    """
    trouble = context.trouble.get("nic.pick")
    if trouble is not None:
        message = "; ".join(trouble.message.splitlines())
        return for_all(context, fail(message, trouble.remedy or None))
    return to_findings(
        (node.name, verdict) for node in context.nodes for verdict in _verdicts(node)
    )


def _verdicts(node: NodeContext) -> Iterator[Verdict]:
    names = [interface.name for interface in node.facts.interfaces]
    wrong = [found for setting in _settings(node) if (found := _judge(setting, node, names))]
    yield from wrong
    if not any(verdict.status is Status.FAIL for verdict in wrong):
        yield _judge_network(node, names)


def _judge(setting: _Setting, node: NodeContext, names: Sequence[str]) -> Verdict | None:
    """Return what is wrong with a setting; None for nothing."""
    interface, is_nccl = node.plan.interface, setting.name == NCCL
    matches = (nccl_matches if is_nccl else gloo_matches)(setting.value, names)
    data = {
        "variable": setting.name, "value": setting.value, "place": setting.place, "interfaces": names,
    }  # fmt: skip
    default = f": orch then sets it to {interface}" if interface else ""
    text = f"remove {setting.name} from {setting.place}{default}"
    if not matches:
        rule = "" if is_nccl else " (gloo takes whole names: no prefix, no ^, no =, no address)"
        message = f"{setting} is none of its interfaces, {', '.join(names)}{rule}"
        # A login may set for NCCL what is meant for other nodes, those with GPUs.
        unused = is_nccl and setting.place == _LOGIN and not node.gpus
        return Verdict(Status.WARN if unused else Status.FAIL, message, text, data=data)
    if interface is not None and matches[0] != interface:
        main = node.context.plan.main_address
        message = (
            f"{setting} selects {matches[0]}, but the route to main ({main}) is by {interface}"
        )
        return warn(message, text, data=data)
    return None


def _judge_network(node: NodeContext, names: Sequence[str]) -> Verdict:
    """Return the verdict on the network that the node's ranks use."""
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
            f"the nodes share no subnet: the route to main ({context.main_address}) is by "
            f"{plan.interface or 'an unknown interface'}",
            "if there is a network that all nodes are on, give main's address there: "
            "`main: {address: ...}` in the inventory, or --main-address",
            data=data,
        )
    message = f"{plan.interface} in {context.subnet}"
    if alone not in (None, plan.interface) and sets.get(NCCL) == f"={plan.interface}":
        kind = ", which is virtual" if str(alone).startswith(_VIRTUAL) else ""
        message += f", set for NCCL by orch: by itself it would choose {alone}{kind}"
    return passed(message, data=data)
