"""EFA, the adapter of Amazon's instances: its driver, and what NCCL needs to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
from orchestrator.preflight.rdma.devices import RDMA, Rdma, setting
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn


@dataclass(frozen=True)
class Efa:
    """Adapters on the PCI bus, and the libraries found: libfabric, and NCCL's plugin for it."""

    pci: int
    libfabric: tuple[str, ...]
    plugin: tuple[str, ...]

    @classmethod
    def parse(cls, raw: Any) -> Efa:
        return cls(
            int(raw["pci"]),
            tuple(str(path) for path in raw["libfabric"]),
            tuple(str(path) for path in raw["plugin"]),
        )


def _arguments(node: NodeContext) -> Mapping[str, Any]:
    return {"folders": node.plan.environment.get("LD_LIBRARY_PATH", "")}


EFA = Probe("infiniband.efa", Efa.parse, _arguments)


@check("efa", Group.INFINIBAND, probes=(RDMA, EFA))
def check_efa(context: Context) -> list[Finding]:
    """Amazon's EFA adapters have their driver, libfabric and NCCL's plugin.

    EFA adapters (PCI vendor 0x1d0f) on the bus, as RDMA devices of the driver `efa`, their files in
    `/dev/infiniband`, and on disk `libfabric.so` and the plugin aws-ofi-nccl (`libnccl-net*.so`) below
    `/opt/amazon`, in the system's folders and in `LD_LIBRARY_PATH`.

    Fails: no driver (`modprobe efa`), no device files, a port that is not active, an adapter or the plugin
    on some nodes only. Warns: no plugin anywhere (NCCL goes by TCP), an `FI_PROVIDER` other than efa,
    another number of devices. Skipped without EFA.
    """
    found, devices = context.of(EFA), context.of(RDMA)
    answers = {name: a for name, a in found.items() if isinstance(a, Efa)}
    if len(answers) == len(found) and not any(a.pci for a in answers.values()):
        return for_all(context, skip("no EFA adapter on any node"))
    somewhere = any(a.pci for a in answers.values())
    plugin = any(a.plugin for a in answers.values())
    common = most_common(
        {name: len(rdma.efa) for name, rdma in devices.items() if isinstance(rdma, Rdma)}
    )

    def verdict(node: NodeContext) -> Verdict:
        answer, rdma = found[node.name], devices[node.name]
        for one in (answer, rdma):
            if isinstance(one, NoAnswer):
                return incomplete(one.reason)
        assert isinstance(answer, Efa) and isinstance(rdma, Rdma)
        if not somewhere:
            return skip("no EFA adapter")
        if not answer.pci:
            return fail(
                "no EFA adapter, though other nodes have one",
                "attach one: an instance gets its EFA interfaces when it is launched",
            )
        return _judge(node, answer, rdma, plugin, common or 0)

    return to_findings((node.name, verdict(node)) for node in context.nodes)


def _judge(node: NodeContext, found: Efa, rdma: Rdma, plugin: bool, common: int) -> Verdict:
    provider = setting(node, rdma, "FI_PROVIDER")
    data = {
        "pci": found.pci,
        "devices": len(rdma.efa),
        "libfabric": list(found.libfabric),
        "plugin": list(found.plugin),
        "FI_PROVIDER": provider,
    }
    if not rdma.efa:
        return fail(
            "EFA adapters on the PCI bus, but no driver for them",
            "load the driver, or install it with Amazon's EFA installer",
            ("modprobe efa",),
            data,
        )
    if not rdma.verbs:
        return fail(
            "no /dev/infiniband/uverbs0: libfabric cannot open the EFA devices",
            "load ib_uverbs; in a container, give it the files (--device=/dev/infiniband)",
            ("modprobe ib_uverbs",),
            data,
        )
    down = [port.name for port in rdma.efa if not port.active]
    if down:
        return fail(f"not active: {', '.join(down)}", "restart the instance", data=data)
    missing = [
        name
        for name, files in (
            ("libfabric", found.libfabric),
            ("NCCL's plugin aws-ofi-nccl", found.plugin),
        )
        if not files
    ]
    if missing:
        return Verdict(
            Status.FAIL if plugin else Status.WARN,
            f"{' and '.join(missing)} not found: NCCL goes by TCP here"
            + (", and by EFA on other nodes" if plugin else ""),
            "install them with Amazon's EFA installer, or name their folder in LD_LIBRARY_PATH",
            data=data,
        )
    if provider not in (None, "", "efa"):
        return warn(
            f"FI_PROVIDER={provider}: libfabric leaves EFA alone",
            "leave FI_PROVIDER out, or set it to efa",
            data=data,
        )
    if len(rdma.efa) != common:
        return warn(f"{len(rdma.efa)} EFA devices, most nodes have {common}", data=data)
    return passed(f"{len(rdma.efa)} EFA devices, with libfabric and NCCL's plugin", data=data)


CHECKS = (check_efa,)
