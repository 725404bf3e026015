"""What the kernel allows listeners of a job: their range of ports, and the length of their queue."""

from __future__ import annotations

from orchestrator.preflight.judge import judge_each, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, check
from orchestrator.preflight.reach.firewall import DEFAULT_PORT_RANGE, PORT_RANGE
from orchestrator.preflight.verdict import Verdict, passed, warn

SOMAXCONN: Probe[int] = Probe("limits.somaxconn", int)

_MIN_PORTS = 1000  # a job of many ranks takes several for each peer
_PERSIST = "(`sysctl -w` lasts until a reboot; a file in /etc/sysctl.d longer)"


@check("net.portrange", Group.REACHABILITY, probes=(PORT_RANGE,))
def check_portrange(context: Context) -> list[Finding]:
    """The kernel has enough ephemeral ports, and the same on all nodes.

    `net.ipv4.ip_local_port_range`, the range that a firewall must allow besides the main port: NCCL and
    gloo listen on ports that the kernel chooses, and have no setting for it. Fewer than 1000 ports warn,
    and so does a node with another range than most: one firewall rule does not fit all nodes then. `sysctl
    -w` sets it. If only a small range may be opened, narrow it on all nodes in the same way.
    """
    common = most_common(context.answers_to(PORT_RANGE))

    def verdict(node: NodeContext, ports: tuple[int, int]) -> Verdict:
        low, high = ports
        count = max(0, high - low + 1)
        data = {"low": low, "high": high}
        if count < _MIN_PORTS:
            return warn(
                f"has only {count} ephemeral ports ({low}-{high}): NCCL and gloo need more to listen on",
                f"widen the range {_PERSIST}",
                (_set_range(DEFAULT_PORT_RANGE),),
                data,
            )
        if common is not None and ports != common:
            return warn(
                f"has the ephemeral ports {low}-{high}, most nodes {common[0]}-{common[1]}: a firewall "
                "must allow each node's own range",
                "set the same range on all nodes, so that one firewall rule is enough",
                (_set_range(common),),
                data,
            )
        return passed(
            f"has the ephemeral ports {low}-{high}: a firewall must allow these and the main port",
            data=data,
        )

    return judge_each(context, PORT_RANGE, verdict)


def _set_range(ports: tuple[int, int]) -> str:
    return f'sysctl -w net.ipv4.ip_local_port_range="{ports[0]} {ports[1]}"'


@check("net.somaxconn", Group.REACHABILITY, probes=(SOMAXCONN,))
def check_somaxconn(context: Context) -> list[Finding]:
    """As many connections as there are ranks may wait for one listener.

    `net.core.somaxconn`: all ranks connect to the main node's store, and to NCCL's root, at about the same
    time. Less than the world size warns: connections that find the queue full are retried after a second
    or more, or fail. `sysctl -w` sets it.
    """
    world = context.plan.world_size

    def verdict(node: NodeContext, found: int) -> Verdict:
        data = {"somaxconn": found, "world_size": world}
        if found >= world:
            return passed(f"queues up to {found} connections for a listener", data=data)
        enough = max(4096, 1 << (world - 1).bit_length())
        return warn(
            f"queues only {found} connections for a listener (net.core.somaxconn), and {world} ranks "
            "connect at once: some will retry, or give up",
            f"lengthen the queue {_PERSIST}",
            (f"sysctl -w net.core.somaxconn={enough}",),
            data,
        )

    return judge_each(context, SOMAXCONN, verdict)


CHECKS = (check_portrange, check_somaxconn)
