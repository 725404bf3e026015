"""InfiniBand and RoCE: active ports, the same on all nodes, without errors, and usable by ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import for_all, judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.rdma import efa, roce
from orchestrator.preflight.rdma.devices import RDMA, Port, Rdma, chosen, judge_rdma, setting
from orchestrator.preflight.verdict import Verdict, passed, skip, warn
from orchestrator.util.text import counted, first_few

Kind = tuple[str, tuple[float, ...]]
"""The link layers of a node's ports, and their different rates."""

_SAME_TRANSPORT = (
    "NCCL needs the same transport on all nodes: fix this one, leave it out (--exclude), or use TCP on all "
    "(--env NCCL_IB_DISABLE=1)"
)
_CHECK_LINK = "check cable, transceiver and switch port"


@check("ib.port", Group.INFINIBAND, probes=(RDMA,))
def check_port(context: Context) -> list[Finding]:
    """Every node has as many active RDMA ports as the others, of one kind and speed.

    `state`, `phys_state`, `rate` and `link_layer` of the ports in `/sys/class/infiniband` that
    `NCCL_IB_HCA` selects, and the device files that programs open.

    Fails if ranks have GPUs (else warns): a node without a device or an active port if other nodes have
    some, another link layer, an `NCCL_IB_HCA` that selects nothing, no `/dev/infiniband/uverbs*` (a
    container without `--device`): NCCL would use different transports on different nodes, and fail or
    hang. Warns: fewer active ports or another rate than most, ports in INIT (no subnet manager), and no
    active port on any node. A spare port that is down on all nodes is normal. Skipped without devices, and
    with `NCCL_IB_DISABLE=1`.
    """
    found = context.answers_to(RDMA)
    ports = {
        node.name: tuple(port for port in chosen(node, found[node.name]) if port.active)
        for node in context.nodes
        if node.name in found and setting(node, found[node.name], "NCCL_IB_DISABLE") != "1"
    }
    somewhere = any(ports.values())
    count = most_common({name: len(active) for name, active in ports.items()}) or 0
    kind = most_common({name: _kind(active) for name, active in ports.items() if active})
    # Ranks on CPUs use gloo, which uses TCP.
    serious = Status.FAIL if any(facts.gpus for facts in context.facts) else Status.WARN

    def without(node: NodeContext, answer: Rdma) -> Verdict:
        if not somewhere:
            return skip("no InfiniBand or RoCE device")
        message = "no RDMA device, though other nodes have active ports"
        return Verdict(serious, message, _SAME_TRANSPORT)

    def verdict(node: NodeContext, answer: Rdma) -> Verdict:
        data = {port.name: _measured(port) for port in answer.ports}
        return replace(judge(node, answer, chosen(node, answer)), data=data)

    def judge(node: NodeContext, answer: Rdma, mine: Sequence[Port]) -> Verdict:
        if not mine:
            names = ", ".join(sorted({port.device for port in answer.ports}))
            return Verdict(
                serious,
                f"NCCL_IB_HCA={setting(node, answer, 'NCCL_IB_HCA')} selects none of the devices ({names})",
                "name devices of this node; if they differ between nodes, in each host's env in the "
                "inventory",
            )
        active = ports[node.name]
        if not active:
            return _all_down(mine, serious if somewhere else Status.WARN)
        if not answer.verbs:
            return Verdict(
                serious,
                "no /dev/infiniband/uverbs0: NCCL cannot open its RDMA devices, and uses TCP",
                "load ib_uverbs; give a container the files (--device=/dev/infiniband)",
                ("modprobe ib_uverbs",),
            )
        if len(active) < count:
            down = ", ".join(_state(port) for port in mine if not port.active) or "none is down"
            return warn(
                f"{counted(len(active), 'port')} active, most nodes have {count}: {down}",
                f"{_CHECK_LINK}: ports of other nodes have no peer here",
            )
        own = _kind(active)
        if kind is None or own == kind:
            return passed(f"{counted(len(active), 'port')} active, {_described(own)}")
        message = f"{_described(own)}, most nodes: {_described(kind)}"
        if own[0] == kind[0]:
            return warn(message, "check cable and switch port: the slowest link sets the pace")
        return Verdict(serious, message, _SAME_TRANSPORT)

    return judge_rdma(context, verdict, without)


def _all_down(ports: Iterable[Port], status: Status) -> Verdict:
    waiting = [p.name for p in ports if p.state == "INIT" and p.layer == "InfiniBand"]
    if waiting:
        return Verdict(
            status,
            f"no subnet manager has configured {', '.join(waiting)} (state INIT): NCCL uses TCP",
            "start a subnet manager (opensm) on one node or on the switch of this fabric",
        )
    states = ", ".join(map(_state, ports))
    return Verdict(status, f"no port is active ({states}): NCCL uses TCP", _CHECK_LINK)


def _measured(port: Port) -> dict[str, object]:
    return {"state": port.state, "phys": port.phys, "rate": port.rate, "layer": port.layer}


def _state(port: Port) -> str:
    return f"{port.name} {port.state} ({port.phys})"


def _kind(ports: Sequence[Port]) -> Kind:
    rates = sorted({port.rate for port in ports if port.rate is not None})
    return " and ".join(sorted({port.layer for port in ports})), tuple(rates)


def _described(kind: Kind) -> str:
    layer = "RoCE" if kind[0] == "Ethernet" else kind[0]
    return f"{layer} at {' and '.join(f'{rate:g}' for rate in kind[1]) or '?'} Gb/s"


# Since the driver was loaded: each plugged cable and each restart of a switch adds a few.
_MAX_ERRORS = {
    "symbol_error": 1000,
    "link_error_recovery": 10,
    "link_downed": 10,
    "port_rcv_errors": 100,
    "local_link_integrity_errors": 10,
    "excessive_buffer_overrun_errors": 10,
}
_UNREADABLE = (1 << 64) - 1
_SATURATED = (0xFF, 0xFFFF, 0xFFFFFFFF)  # old counters stop at these


@check("ib.counters", Group.INFINIBAND, probes=(RDMA,))
def check_counters(context: Context) -> list[Finding]:
    """The active RDMA ports have few link errors.

    The error counters of the active ports since the driver was loaded: `symbol_error` (1000 and more),
    `port_rcv_errors` (100), `link_error_recovery`, `link_downed`, `local_link_integrity_errors` and
    `excessive_buffer_overrun_errors` (10) warn. Some come with every restart of a switch; if they grow
    under load, the cause is a cable, a transceiver or a switch port. Old counters stop at their maximum
    (255, 65535, 4294967295).
    """
    return judge_rdma(context, _judge_counters)


def _judge_counters(node: NodeContext, found: Rdma) -> Verdict:
    ports = [port for port in chosen(node, found) if port.active]
    data = {port.name: dict(port.counters) for port in ports}
    if not ports:
        return skip("no active port")
    if not any(port.counters for port in ports):
        return skip("these devices have no error counters")
    high = [
        f"{port.name} {name} {value}{' (maximum)' * (value in _SATURATED)}"
        for port in ports
        for name, value in port.counters.items()
        if name in _MAX_ERRORS and _MAX_ERRORS[name] <= value < _UNREADABLE
    ]
    if not high:
        return passed("few link errors, or none", data=data)
    return warn(
        f"many link errors since the driver was loaded: {first_few(high, 4)}",
        "see whether they grow (perfquery, mlxlink -c): if so, clean or replace cable and transceiver, or "
        "try another switch port",
        data=data,
    )


@dataclass(frozen=True)
class LockLimit:
    """How many bytes a rank may lock (None: any), and whether it is `exempt` from that."""

    soft: int | None
    exempt: bool


MEMLOCK = Probe("infiniband.memlock", reader(LockLimit))
_MIB = 1 << 20
_MIN_LOCKED = 64 * _MIB
_UNLIMITED = (
    "printf '* - memlock unlimited\\nroot - memlock unlimited\\n'"
    " > /etc/security/limits.d/90-memlock.conf"
)


@check("ib.memlock", Group.INFINIBAND, probes=(RDMA, MEMLOCK))
def check_memlock(context: Context) -> list[Finding]:
    """Ranks may lock the memory that RDMA needs.

    RLIMIT_MEMLOCK as ranks get it, in the same kind of login that starts them, if there are RDMA devices.
    Below 64 MiB fails (*ibv_reg_mr failed*, *ibv_create_qp failed*), any other limit warns; root, with
    CAP_IPC_LOCK, has none. `memlock unlimited` in `/etc/security/limits.d` fixes it, or
    `LimitMEMLOCK=infinity` in sshd's unit; in a container, `--ulimit memlock=-1`.
    """
    if context.none_has(RDMA, lambda found: found.ports or found.efa):
        return for_all(context, skip("no RDMA device on any node"))
    return judge_nodes(context, _judge_memlock)


def _judge_memlock(node: NodeContext) -> Verdict:
    found = node.context.answers_to(RDMA).get(node.name)
    if found is not None and not (found.ports or found.efa):
        return skip("no RDMA device")
    limit = node.answer(MEMLOCK)
    soft = limit.soft
    if soft is None or limit.exempt:
        return passed("ranks may lock all memory", data={"soft": soft})
    return Verdict(
        Status.FAIL if soft < _MIN_LOCKED else Status.WARN,
        f"a rank may lock only {soft / _MIB:g} MiB of memory, and RDMA locks all that it sends from "
        "(ibv_reg_mr fails)",
        "raise the limit for logins, and connect again; if sshd does not use PAM, set "
        "LimitMEMLOCK=infinity in its unit and run systemctl restart ssh",
        (_UNLIMITED,),
        {"soft": soft},
    )


CHECKS = (check_port, check_counters, check_memlock, *roce.CHECKS, *efa.CHECKS)
