"""Addresses of RoCE ports (GIDs), and whether RDMA devices reach GPU memory by themselves."""

from __future__ import annotations

import re

from orchestrator.preflight.gpus.devices import GPU, Gpus
from orchestrator.preflight.judge import most_common
from orchestrator.preflight.model import Context, Finding, Group, NoAnswer, NodeContext, check
from orchestrator.preflight.rdma.devices import RDMA, Port, Rdma, chosen, judge_rdma, setting
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn

_DMABUF = (5, 12)  # the first kernel whose verbs register another driver's memory


def _roce(node: NodeContext, found: Rdma) -> list[Port]:
    return [p for p in chosen(node, found) if p.active and p.layer == "Ethernet"]


def _indices(port: Port) -> list[int]:
    return [gid.index for gid in port.gids if gid.ipv4]


@check("ib.gid", Group.INFINIBAND, probes=(RDMA,))
def check_gid(context: Context) -> list[Finding]:
    """NCCL uses a RoCE v2 address on every RoCE port.

    The GID table of each active Ethernet port (`gids` and `gid_attrs` in `/sys/class/infiniband`): at
    which index is RoCE v2 with an IPv4 address. An `NCCL_IB_GID_INDEX` that is empty, RoCE v1 or
    link-local on a port fails (*ibv_modify_qp failed*, *Connection timed out*). A port without such an
    address warns, and so do indices that differ between nodes: no one `NCCL_IB_GID_INDEX` then fits all.
    NCCL finds the index by itself since 2.21. Skipped without RoCE.
    """
    found = context.of(RDMA)
    first = {
        s.name: indices
        for s in context.nodes
        if isinstance(answer := found[s.name], Rdma)
        and (indices := tuple(sorted({min(i) for p in _roce(s, answer) if (i := _indices(p))})))
    }
    common = most_common(first)

    def verdict(node: NodeContext, answer: Rdma) -> Verdict:
        ports = _roce(node, answer)
        if not ports:
            return skip("no active RoCE port")
        index = setting(node, answer, "NCCL_IB_GID_INDEX")
        data = {port.name: _indices(port) for port in ports}
        if index not in (None, "", "-1"):
            return _judge_index(str(index), ports, data)
        bare = [port for port in ports if not _indices(port)]
        if bare:
            names = ", ".join(
                f"{p.name} ({', '.join(p.interfaces) or 'no interface'})" for p in bare
            )
            return warn(
                f"{names}: no RoCE v2 address of IPv4, yet NCCL would use it",
                "give its interface an IPv4 address, or leave the device out with NCCL_IB_HCA",
                data=data,
            )
        mine = first[node.name]
        if mine != common and common is not None:
            here, there = (", ".join(map(str, indices)) for indices in (mine, common))
            return warn(
                f"RoCE v2 over IPv4 is at GID index {here}, on most nodes at {there}",
                "NCCL before 2.21 wants NCCL_IB_GID_INDEX, and no one value fits all nodes: set it per "
                "host under env in the inventory",
                data=data,
            )
        return passed(f"RoCE v2 over IPv4 at GID index {', '.join(map(str, mine))}", data=data)

    return judge_rdma(context, verdict)


def _judge_index(text: str, ports: list[Port], data: dict[str, list[int]]) -> Verdict:
    """Return the verdict on an NCCL_IB_GID_INDEX, which holds for all ports."""
    wrong = []
    for port in ports:
        gid = next((gid for gid in port.gids if str(gid.index) == text), None)
        if gid is None:
            wrong.append(f"{port.name} has no such GID")
        elif gid.kind is not None and not gid.routable:
            local = "a link-local address" if gid.kind == "RoCE v2" else gid.kind
            wrong.append(f"that of {port.name} is {local}")
    if not wrong:
        return passed(f"NCCL_IB_GID_INDEX={text} is RoCE v2 on all ports", data=data)
    fits = set.intersection(*(set(_indices(port)) for port in ports))
    better = (
        f"set it to {min(fits)} for this node, or leave it out: NCCL finds it by itself since 2.21"
        if fits
        else "leave it out: NCCL finds it by itself since 2.21"
    )
    return fail(
        f"NCCL_IB_GID_INDEX={text}: {'; '.join(wrong[:4])}: ibv_modify_qp will fail or time out",
        better,
        data=data,
    )


@check("ib.gdr", Group.INFINIBAND, probes=(RDMA, GPU))
def check_gdr(context: Context) -> list[Finding]:
    """RDMA devices reach GPU memory by themselves (GPUDirect RDMA).

    The module `nvidia_peermem`, or DMA-BUF: NVIDIA's open kernel module on Linux 5.12 and on. Without
    either NCCL copies everything through the host's memory, at a fraction of the speed: warns, and is
    mended by `modprobe nvidia_peermem`. Skipped without RDMA devices or GPUs.
    """
    gpus = context.of(GPU)

    def verdict(node: NodeContext, found: Rdma) -> Verdict:
        here = gpus[node.name]
        if isinstance(here, NoAnswer):
            return incomplete(here.reason)
        return _judge_gdr(found, here, any(port.active for port in chosen(node, found)))

    return judge_rdma(context, verdict)


def _judge_gdr(found: Rdma, gpus: Gpus, active: bool) -> Verdict:
    data = {"peermem": found.peermem, "open": gpus.open, "kernel": found.kernel}
    if not gpus.served or not active:
        return skip("no NVIDIA GPU" if active else "no active port")
    if found.peermem:
        return passed("nvidia_peermem is loaded", data=data)
    release = re.match(r"(\d{1,9})\.(\d{1,9})", found.kernel)
    if gpus.open and release and (int(release.group(1)), int(release.group(2))) >= _DMABUF:
        return passed("by DMA-BUF (open kernel module)", data=data)
    return warn(
        "RDMA devices do not reach GPU memory: NCCL copies all through the host's",
        "load nvidia_peermem, now and at each start",
        (
            "modprobe nvidia_peermem",
            "echo nvidia_peermem > /etc/modules-load.d/nvidia-peermem.conf",
        ),
        data,
    )


CHECKS = (
    check_gid,
    check_gdr,
)
