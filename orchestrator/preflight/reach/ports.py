"""What the kernel allows a job's listeners: the range of their ports, and how many may wait for them."""

from __future__ import annotations

from orchestrator.preflight.judge import judge_each, most_common
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    NoAnswer,
    NodeContext,
    Probe,
)
from orchestrator.preflight.reach.firewall import PORT_RANGE
from orchestrator.preflight.verdict import Verdict, passed, warn

SOMAXCONN: Probe[int] = Probe("ports.somaxconn", int)

_FEW = 1000  # ephemeral ports: a job of many ranks takes some per peer
_USUAL = (32768, 60999)  # the kernel's own range


def _portrange(context: Context) -> list[Finding]:
    found = {n: a for n, a in context.of(PORT_RANGE).items() if not isinstance(a, NoAnswer)}
    common = most_common(found)

    def verdict(node: NodeContext, ports: tuple[int, int]) -> Verdict:
        low, high = ports
        count = max(0, high - low + 1)
        data = {"low": low, "high": high}
        if count < _FEW:
            return warn(
                f"has only {count} ephemeral ports ({low}-{high}): NCCL and gloo listen on these, and "
                "run out of them",
                "widen the range (sysctl -w lasts until a reboot; a file in /etc/sysctl.d longer)",
                (_set_range(_USUAL),),
                data,
            )
        if common is not None and ports != common:
            return warn(
                f"has the ephemeral ports {low}-{high}, most nodes {common[0]}-{common[1]}: a firewall "
                "must let each node's own range in",
                "give all nodes one range, so that one rule opens them all",
                (_set_range(common),),
                data,
            )
        return passed(
            f"has the ephemeral ports {low}-{high}: a firewall must let these in, and the main port",
            data=data,
        )

    return judge_each(context, PORT_RANGE, verdict)


def _set_range(ports: tuple[int, int]) -> str:
    return f'sysctl -w net.ipv4.ip_local_port_range="{ports[0]} {ports[1]}"'


def _somaxconn(context: Context) -> list[Finding]:
    world = context.plan.world_size

    def verdict(node: NodeContext, found: int) -> Verdict:
        data = {"somaxconn": found, "world_size": world}
        if found >= world:
            return passed(f"lets {found} connections wait for a listener", data=data)
        enough = max(4096, 1 << (world - 1).bit_length())
        return warn(
            f"lets only {found} connections wait for a listener (net.core.somaxconn), and {world} ranks "
            "connect at once: some try again, or give up",
            "let more wait (sysctl -w lasts until a reboot; a file in /etc/sysctl.d longer)",
            (f"sysctl -w net.core.somaxconn={enough}",),
            data,
        )

    return judge_each(context, SOMAXCONN, verdict)


CHECKS = (
    Check(
        id="net.portrange",
        group=Group.REACHABILITY,
        level=Level.FULL,
        meaning="the kernel has ephemeral ports enough, and the same on all nodes",
        page="`net.ipv4.ip_local_port_range`, the range that a firewall must let in beside the main port: "
        "NCCL and gloo listen on whatever port the kernel gives them, and have no setting of their "
        "own for it. Fewer than 1000 ports warn, and so does a node whose range is not that of most "
        "others, for then one rule does not open them all. `sysctl -w` sets it; where only a small range "
        "may be opened, narrow it on all nodes alike.",
        verdict=_portrange,
        probes=(PORT_RANGE,),
    ),
    Check(
        id="net.somaxconn",
        group=Group.REACHABILITY,
        level=Level.FULL,
        meaning="as many connections as there are ranks may wait for one listener",
        page="`net.core.somaxconn`: every rank connects to the main node's store, and to NCCL's root, "
        "at about the same time. Less than the world size warns: connections that find the queue full "
        "are tried again after a second or more, or given up. `sysctl -w` sets it.",
        verdict=_somaxconn,
        probes=(SOMAXCONN,),
    ),
)
