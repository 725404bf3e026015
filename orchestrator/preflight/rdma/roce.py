"""Addresses of RoCE ports (GIDs), and whether RDMA devices access GPU memory directly."""

from __future__ import annotations

import re
from dataclasses import replace

from orchestrator.preflight.gpus.devices import GPU
from orchestrator.preflight.judge import most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, check
from orchestrator.preflight.rdma.devices import RDMA, Port, Rdma, chosen, judge_rdma, setting
from orchestrator.preflight.verdict import Verdict, fail, passed, skip, warn

_DMABUF = (5, 12)  # the first kernel with verbs that register the memory of another driver


def _roce(node: NodeContext, found: Rdma) -> list[Port]:
    return [p for p in chosen(node, found) if p.active and p.layer == "Ethernet"]


def _indices(port: Port) -> list[int]:
    return [gid.index for gid in port.gids if gid.ipv4]


@check("ib.gid", Group.INFINIBAND, probes=(RDMA,))
def check_gid(context: Context) -> list[Finding]:
    """NCCL uses a RoCE v2 address on every RoCE port.

    The index of RoCE v2 with an IPv4 address in the GID table of each active Ethernet port (`gids` and
    `gid_attrs` in `/sys/class/infiniband`). An `NCCL_IB_GID_INDEX` that is empty, RoCE v1 or link-local on
    a port fails (*ibv_modify_qp failed*, *Connection timed out*). A port without such an address warns,
    and so do indices that differ between nodes: no single `NCCL_IB_GID_INDEX` fits all then. NCCL finds
    the index by itself since 2.21. Skipped without RoCE.
    """
    found = context.answers_to(RDMA)
    first = {
        node.name: indices
        for node in context.nodes
        if node.name in found and (indices := _first_indices(_roce(node, found[node.name])))
    }
    common = most_common(first)

    def verdict(node: NodeContext, answer: Rdma) -> Verdict:
        ports = _roce(node, answer)
        if not ports:
            return skip("no active RoCE port")
        index = setting(node, answer, "NCCL_IB_GID_INDEX")
        if index not in (None, "", "-1"):
            judged = _judge_index(str(index), ports)
        else:
            judged = _judge_first(ports, first.get(node.name), common)
        return replace(judged, data={port.name: _indices(port) for port in ports})

    return judge_rdma(context, verdict)


def _first_indices(ports: list[Port]) -> tuple[int, ...]:
    """Return the indices at which NCCL finds an address on these ports by itself."""
    return tuple(sorted({min(indices) for port in ports if (indices := _indices(port))}))


def _judge_first(
    ports: list[Port], mine: tuple[int, ...] | None, common: tuple[int, ...] | None
) -> Verdict:
    """Return the verdict on a node that leaves the index to NCCL."""
    if bare := [port for port in ports if not _indices(port)]:
        names = (f"{p.name} ({', '.join(p.interfaces) or 'no interface'})" for p in bare)
        return warn(
            f"{', '.join(names)}: no RoCE v2 address of IPv4, but NCCL would use it",
            "give its interface an IPv4 address, or exclude the device with NCCL_IB_HCA",
        )
    here, there = (", ".join(map(str, indices or ())) for indices in (mine, common))
    if here == there:
        return passed(f"RoCE v2 over IPv4 at GID index {here}")
    return warn(
        f"RoCE v2 over IPv4 is at GID index {here}, on most nodes at {there}",
        "NCCL before 2.21 needs NCCL_IB_GID_INDEX, and no single value fits all nodes: set it for each "
        "host in its env in the inventory",
    )


def _judge_index(text: str, ports: list[Port]) -> Verdict:
    """Return the verdict on an NCCL_IB_GID_INDEX, which applies to all ports."""
    wrong = []
    for port in ports:
        gid = next((gid for gid in port.gids if str(gid.index) == text), None)
        if gid is None:
            wrong.append(f"{port.name} has no such GID")
        elif gid.type is not None and not gid.routable:
            actual = "a link-local address" if gid.type == "RoCE v2" else gid.type
            wrong.append(f"that of {port.name} is {actual}")
    if not wrong:
        return passed(f"NCCL_IB_GID_INDEX={text} is RoCE v2 on all ports")
    fits = set.intersection(*(set(_indices(port)) for port in ports))
    better = f"set it to {min(fits)} for this node, or unset it" if fits else "unset it"
    return fail(
        f"NCCL_IB_GID_INDEX={text}: {'; '.join(wrong[:4])}: ibv_modify_qp will fail or time out",
        f"{better}: NCCL finds it by itself since 2.21",
    )


@check("ib.gdr", Group.INFINIBAND, probes=(RDMA, GPU))
def check_gdr(context: Context) -> list[Finding]:
    """RDMA devices access GPU memory directly (GPUDirect RDMA).

    The module `nvidia_peermem`, or DMA-BUF: NVIDIA's open kernel module on Linux 5.12 or newer. Without
    either, NCCL copies everything through host memory, at a fraction of the speed. That warns; `modprobe
    nvidia_peermem` fixes it. Skipped without RDMA devices or GPUs.
    """
    return judge_rdma(context, _judge_gdr)


def _judge_gdr(node: NodeContext, found: Rdma) -> Verdict:
    gpus, gdr = node.answer(GPU), found.gdr
    active = any(port.active for port in chosen(node, found))
    data = {**vars(gdr), "open": gpus.open}
    if not gpus.served or not active:
        return skip("no NVIDIA GPU" if active else "no active port")
    if gdr.peermem:
        return passed("nvidia_peermem is loaded", data=data)
    release = re.match(r"(\d{1,9})\.(\d{1,9})", gdr.kernel)
    if gpus.open and release and (int(release[1]), int(release[2])) >= _DMABUF:
        return passed("by DMA-BUF (open kernel module)", data=data)
    return warn(
        "RDMA devices do not access GPU memory directly: NCCL copies everything through host memory",
        "load nvidia_peermem, now and at each boot",
        (
            "modprobe nvidia_peermem",
            "echo nvidia_peermem > /etc/modules-load.d/nvidia-peermem.conf",
        ),
        data,
    )


CHECKS = (check_gid, check_gdr)
