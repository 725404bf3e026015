"""EFA, the adapter of Amazon's instances: its driver, and what NCCL needs to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import for_all, judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.rdma.devices import RDMA, Rdma, setting
from orchestrator.preflight.verdict import Verdict, fail, passed, skip, warn


@dataclass(frozen=True)
class Efa:
    """Adapters on the PCI bus, and the libraries found: libfabric, and NCCL's plugin for it."""

    pci: int
    libfabric: tuple[str, ...]
    plugin: tuple[str, ...]


def _arguments(node: NodeContext) -> Mapping[str, Any]:
    return {"folders": node.plan.environment.get("LD_LIBRARY_PATH", "")}


EFA = Probe("infiniband.efa", reader(Efa), _arguments)


@check("efa", Group.INFINIBAND, probes=(RDMA, EFA))
def check_efa(context: Context) -> list[Finding]:
    """Amazon's EFA adapters have their driver, libfabric and NCCL's plugin.

    EFA adapters (PCI vendor 0x1d0f) on the bus, as RDMA devices of the driver `efa`, their files in
    `/dev/infiniband`, and on disk `libfabric.so` and the plugin aws-ofi-nccl (`libnccl-net*.so`) below
    `/opt/amazon`, in the system's folders and in `LD_LIBRARY_PATH`.

    Fails: no driver (`modprobe efa`), no device files, a port that is not active, an adapter or the plugin
    only on some nodes. Warns: no plugin on any node (NCCL uses TCP), an `FI_PROVIDER` other than efa,
    another number of devices than most. Skipped without EFA.
    """
    if context.none_has(EFA, lambda found: found.pci):
        return for_all(context, skip("no EFA adapter on any node"))
    answers = context.answers_to(EFA).values()
    somewhere = any(found.pci for found in answers)
    plugin = any(found.plugin for found in answers)
    devices = context.answers_to(RDMA).items()
    common = most_common({name: len(rdma.efa) for name, rdma in devices}) or 0

    def verdict(node: NodeContext) -> Verdict:
        found, rdma = node.answer(EFA), node.answer(RDMA)
        if not somewhere:
            return skip("no EFA adapter")
        if not found.pci:
            return fail(
                "no EFA adapter, though other nodes have one",
                "attach one: an instance gets its EFA interfaces when it is launched",
            )
        provider = setting(node, rdma, "FI_PROVIDER")
        data = {**vars(found), "devices": len(rdma.efa), "FI_PROVIDER": provider}
        return replace(_judge(found, rdma, provider, plugin, common), data=data)

    return judge_nodes(context, verdict)


def _judge(found: Efa, rdma: Rdma, provider: str | None, plugin: bool, common: int) -> Verdict:
    """Return the verdict on a node with adapters; `plugin` is whether any node has NCCL's plugin."""
    if not rdma.efa:
        return fail(
            "EFA adapters on the PCI bus, but no driver for them",
            "load the driver, or install it with Amazon's EFA installer",
            ("modprobe efa",),
        )
    if not rdma.verbs:
        return fail(
            "no /dev/infiniband/uverbs0: libfabric cannot open the EFA devices",
            "load ib_uverbs; give a container the files (--device=/dev/infiniband)",
            ("modprobe ib_uverbs",),
        )
    if down := [port.name for port in rdma.efa if not port.active]:
        return fail(f"not active: {', '.join(down)}", "restart the instance")
    files = {"libfabric": found.libfabric, "NCCL's plugin aws-ofi-nccl": found.plugin}
    if missing := [name for name, paths in files.items() if not paths]:
        return Verdict(
            Status.FAIL if plugin else Status.WARN,
            f"{' and '.join(missing)} not found: NCCL uses TCP here"
            + (", and EFA on other nodes" if plugin else ""),
            "install them with Amazon's EFA installer, or add their folder to LD_LIBRARY_PATH",
        )
    if provider not in (None, "", "efa"):
        message = f"FI_PROVIDER={provider}: libfabric does not use EFA"
        return warn(message, "unset FI_PROVIDER, or set it to efa")
    if len(rdma.efa) != common:
        return warn(f"{len(rdma.efa)} EFA devices, most nodes have {common}")
    return passed(f"{len(rdma.efa)} EFA devices, with libfabric and NCCL's plugin")


CHECKS = (check_efa,)
