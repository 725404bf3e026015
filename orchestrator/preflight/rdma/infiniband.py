"""InfiniBand and RoCE: are the ports up, alike on all nodes, without errors, and may ranks use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.preflight.answers import optional
from orchestrator.preflight.judge import for_all, most_common, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.rdma import efa, roce
from orchestrator.preflight.rdma.devices import RDMA, Port, Rdma, chosen, judge_rdma, setting
from orchestrator.preflight.verdict import Verdict, incomplete, passed, skip, warn
from orchestrator.util.text import counted, first_few

Kind = tuple[str, tuple[float, ...]]
"""The link layers of a node's ports, and their different rates."""

_ONE_WAY = (
    "NCCL must go the same way on all nodes: mend this one, leave it out (--exclude), or have all use TCP "
    "(--env NCCL_IB_DISABLE=1)"
)


@check("ib.port", Group.INFINIBAND, probes=(RDMA,))
def check_port(context: Context) -> list[Finding]:
    """Every node has as many active RDMA ports as the others, of one kind and speed.

    `state`, `phys_state`, `rate` and `link_layer` of the ports in `/sys/class/infiniband` that
    `NCCL_IB_HCA` leaves, and the device files that programs open.

    Fails where ranks have GPUs (else warns): a node without a device or an active port among nodes that
    have some, another link layer, an `NCCL_IB_HCA` that names nothing here, no `/dev/infiniband/uverbs*`
    (a container without `--device`): NCCL would take different ways on different nodes, and end or hang.
    Warns: fewer active ports or another rate than most, ports in INIT (no subnet manager), and no active
    port on any node. A spare port that is down on all nodes is normal. Skipped without devices, and under
    `NCCL_IB_DISABLE=1`.
    """
    found = context.of(RDMA)
    ports = {
        s.name: tuple(port for port in chosen(s, answer) if port.active)
        for s in context.nodes
        if isinstance(answer := found[s.name], Rdma)
        and setting(s, answer, "NCCL_IB_DISABLE") != "1"
    }
    somewhere = any(ports.values())
    count = most_common({name: len(active) for name, active in ports.items()})
    kind = most_common({name: _kind(active) for name, active in ports.items() if active})
    # Ranks on CPUs talk by gloo, which uses TCP.
    serious = Status.FAIL if any(facts.gpus for facts in context.facts) else Status.WARN

    def without(node: NodeContext, answer: Rdma) -> Verdict:
        if not somewhere:
            return skip("no InfiniBand or RoCE device")
        return Verdict(serious, "no RDMA device, though other nodes have active ports", _ONE_WAY)

    def verdict(node: NodeContext, answer: Rdma) -> Verdict:
        mine = chosen(node, answer)
        data = {port.name: _measured(port) for port in answer.ports}
        if not mine:
            wanted = setting(node, answer, "NCCL_IB_HCA")
            names = ", ".join(sorted({port.device for port in answer.ports}))
            return Verdict(
                serious,
                f"NCCL_IB_HCA={wanted} names none of the devices here ({names})",
                "name devices of this node, in its env in the inventory where they differ between nodes",
                data=data,
            )
        active = ports[node.name]
        if not active:
            return _all_down(mine, serious if somewhere else Status.WARN, data)
        if not answer.verbs:
            return Verdict(
                serious,
                "no /dev/infiniband/uverbs0: NCCL cannot open its RDMA devices, and goes by TCP",
                "load ib_uverbs; in a container, give it the files (--device=/dev/infiniband)",
                ("modprobe ib_uverbs",),
                data,
            )
        if len(active) < (count or 0):
            down = ", ".join(_state(port) for port in mine if not port.active) or "none is down"
            return warn(
                f"{counted(len(active), 'port')} active, most nodes have {count}: {down}",
                "look at cable, transceiver and switch port: other nodes' ports have no partner here",
                data=data,
            )
        if kind is not None and _kind(active) != kind:
            return _of_another_kind(_kind(active), kind, serious, data)
        told = f"{counted(len(active), 'port')} active, {_words(_kind(active))}"
        return passed(told, data=data)

    return judge_rdma(context, verdict, without)


def _of_another_kind(
    mine: Kind, most: Kind, serious: Status, data: Mapping[str, object]
) -> Verdict:
    message = f"{_words(mine)}, most nodes: {_words(most)}"
    if mine[0] == most[0]:
        text = "look at cable and switch port: the slowest link sets the pace"
        return warn(message, text, data=data)
    return Verdict(serious, message, _ONE_WAY, data=data)


def _all_down(ports: Iterable[Port], status: Status, data: Mapping[str, object]) -> Verdict:
    waiting = [port for port in ports if port.state == "INIT" and port.layer == "InfiniBand"]
    if waiting:
        return Verdict(
            status,
            f"no subnet manager has set up {', '.join(port.name for port in waiting)} (state INIT): "
            "NCCL goes by TCP",
            "start a subnet manager (opensm) on one node or on the switch of this fabric",
            data=data,
        )
    return Verdict(
        status,
        f"no port is active ({', '.join(_state(port) for port in ports)}): NCCL goes by TCP",
        "look at cable, transceiver and switch port",
        data=data,
    )


def _measured(port: Port) -> dict[str, object]:
    return {"state": port.state, "phys": port.phys, "rate": port.rate, "layer": port.layer}


def _state(port: Port) -> str:
    return f"{port.name} {port.state} ({port.phys})"


def _kind(ports: Sequence[Port]) -> Kind:
    rates = sorted({port.rate for port in ports if port.rate is not None})
    return " and ".join(sorted({port.layer for port in ports})), tuple(rates)


def _words(kind: Kind) -> str:
    layer = "RoCE" if kind[0] == "Ethernet" else kind[0]
    return f"{layer} at {' and '.join(f'{rate:g}' for rate in kind[1]) or '?'} Gb/s"


# Since the driver was loaded: a few come with every cable that is plugged, and every switch that restarts.
_BOUNDS = {
    "symbol_error": 1000,
    "link_error_recovery": 10,
    "link_downed": 10,
    "port_rcv_errors": 100,
    "local_link_integrity_errors": 10,
    "excessive_buffer_overrun_errors": 10,
}
_UNREADABLE = (1 << 64) - 1
_ENDS = (0xFF, 0xFFFF, 0xFFFFFFFF)  # old counters stay at their end


@check("ib.counters", Group.INFINIBAND, probes=(RDMA,))
def check_counters(context: Context) -> list[Finding]:
    """The active RDMA ports have few link errors.

    The error counters of the active ports since the driver was loaded: `symbol_error` (1000 and more),
    `port_rcv_errors` (100), `link_error_recovery`, `link_downed`, `local_link_integrity_errors` and
    `excessive_buffer_overrun_errors` (10) warn. Some come with every restart of a switch; what grows under
    load is a cable, a transceiver or a switch port. Old counters stay at their end (255, 65535,
    4294967295).
    """

    def verdict(node: NodeContext, found: Rdma) -> Verdict:
        ports = [port for port in chosen(node, found) if port.active]
        data = {port.name: dict(port.counters) for port in ports}
        if not ports:
            return skip("no active port")
        if not any(port.counters for port in ports):
            return skip("these devices have no such counters")
        high = [
            f"{port.name} {name} {value}{' (its end)' * (value in _ENDS)}"
            for port in ports
            for name, value in port.counters.items()
            if name in _BOUNDS and _BOUNDS[name] <= value < _UNREADABLE
        ]
        if high:
            return warn(
                f"many link errors since the driver was loaded: {first_few(high, 4)}",
                "see whether they grow (perfquery, mlxlink -c): if so, clean or replace cable and "
                "transceiver, or try another switch port",
                data=data,
            )
        return passed("few link errors, or none", data=data)

    return judge_rdma(context, verdict)


def _memlock_of(raw: object) -> tuple[int | None, bool]:
    """Return (bytes that may be locked, None for all; whether the limit does not hold)."""
    if not isinstance(raw, dict):
        raise TypeError(f"not an object: {raw!r}")
    return optional(int, raw["soft"]), bool(raw["exempt"])


MEMLOCK = Probe("infiniband.memlock", _memlock_of)
_MIB = 1 << 20
_LEAST = 64 * _MIB
_UNLIMITED = (
    "printf '* - memlock unlimited\\nroot - memlock unlimited\\n'"
    " > /etc/security/limits.d/90-memlock.conf"
)


@check("ib.memlock", Group.INFINIBAND, probes=(RDMA, MEMLOCK))
def check_memlock(context: Context) -> list[Finding]:
    """Ranks may lock the memory that RDMA needs.

    RLIMIT_MEMLOCK as ranks get it, in the very login that starts them, where there are RDMA devices. Below
    64 MiB fails (*ibv_reg_mr failed*, *ibv_create_qp failed*), any other limit warns; root, with
    CAP_IPC_LOCK, has none. Mended by `memlock unlimited` in `/etc/security/limits.d`, or
    `LimitMEMLOCK=infinity` in sshd's unit; in a container by `--ulimit memlock=-1`.
    """
    devices, limits = context.of(RDMA), context.of(MEMLOCK)
    answers = [answer for answer in devices.values() if isinstance(answer, Rdma)]
    if len(answers) == len(devices) and not any(a.ports or a.efa for a in answers):
        return for_all(context, skip("no RDMA device on any node"))

    def verdict(node: NodeContext) -> Verdict:
        found, limit = devices[node.name], limits[node.name]
        if isinstance(found, Rdma) and not (found.ports or found.efa):
            return skip("no RDMA device")
        if isinstance(limit, NoAnswer):
            return incomplete(limit.reason)
        soft, exempt = limit
        if soft is None or exempt:
            return passed("ranks may lock all memory", data={"soft": soft})
        return Verdict(
            Status.FAIL if soft < _LEAST else Status.WARN,
            f"a rank may lock only {soft / _MIB:g} MiB of memory: RDMA locks all that it sends from "
            "(ibv_reg_mr fails)",
            "lift the limit for logins, and connect again; where sshd does not use PAM, put "
            "LimitMEMLOCK=infinity into its unit and run systemctl restart ssh",
            (_UNLIMITED,),
            {"soft": soft},
        )

    return to_findings((node.name, verdict(node)) for node in context.nodes)


CHECKS = (
    check_port,
    check_counters,
    check_memlock,
    *roce.CHECKS,
    *efa.CHECKS,
)
