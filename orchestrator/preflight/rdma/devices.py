"""The RDMA devices of a node, and which of their ports NCCL uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.judge import for_all, judge_nodes
from orchestrator.preflight.model import Context, Finding, NodeContext, Probe
from orchestrator.preflight.verdict import Verdict, skip

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) Gb/sec")
_NO_DEVICE = "no InfiniBand or RoCE device"


def _state(raw: Any) -> str:
    """Return the name of a state, which the kernel writes as "4: ACTIVE"."""
    return text(raw or "unknown", 40).rpartition(": ")[2]


def _gigabits(raw: Any) -> float | None:
    rate = _RATE.match(raw or "")
    return float(rate.group(1)) if rate else None


@dataclass(frozen=True)
class Gid:
    """One address of a RoCE port; `type` is "RoCE v2" or "IB/RoCE v1"."""

    index: int
    gid: str
    type: str | None

    @property
    def routable(self) -> bool:
        """Whether it is of RoCE v2, and not link-local."""
        return self.type == "RoCE v2" and not self.gid.startswith("fe80")

    @property
    def ipv4(self) -> bool:
        return self.routable and self.gid.startswith("0000:0000:0000:0000:0000:ffff:")


@dataclass(frozen=True)
class Port:
    """One port of an RDMA device; `rate` is in Gb/s, `state` and `phys` are the kernel's names."""

    port: int
    state: Annotated[str, _state]
    phys: Annotated[str, _state]
    rate: Annotated[float | None, _gigabits]
    layer: Annotated[str, _state]
    counters: Mapping[str, int]
    gids: tuple[Gid, ...]
    device: str = ""
    interfaces: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.device}/{self.port}"

    @property
    def active(self) -> bool:
        return self.state == "ACTIVE"


@dataclass(frozen=True)
class Device:
    """One RDMA device of the kernel, and its network interfaces."""

    name: str
    driver: str | None
    interfaces: tuple[str, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class GpuDirect:
    """What lets RDMA devices access GPU memory: NVIDIA's module, and the kernel release."""

    peermem: bool
    kernel: str


@dataclass(frozen=True)
class Rdma:
    """The RDMA devices of a node.

    `verbs` is the number of device files that programs open. `environment` is that of the login.
    """

    devices: tuple[Device, ...]
    verbs: int
    environment: Mapping[str, Annotated[str, str]]
    gdr: GpuDirect

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """The ports that NCCL uses itself: all except those of EFA."""
        return self._ports(efa=False)

    @cached_property
    def efa(self) -> tuple[Port, ...]:
        """The ports of Amazon's EFA adapters, which NCCL uses by a plugin."""
        return self._ports(efa=True)

    def _ports(self, *, efa: bool) -> tuple[Port, ...]:
        return tuple(
            replace(port, device=device.name, interfaces=device.interfaces)
            for device in self.devices
            if (device.driver == "efa") is efa
            for port in device.ports
        )


RDMA = Probe("infiniband", reader(Rdma))


def setting(node: NodeContext, found: Rdma, name: str) -> str | None:
    """Return the value of the variable `name` for the ranks of this node."""
    return node.plan.environment.get(name, found.environment.get(name))


def chosen(node: NodeContext, found: Rdma) -> tuple[Port, ...]:
    """Return the ports that NCCL_IB_HCA selects.

    Its form is [^][=]NAME[:PORT],...: a name is a prefix, after = a whole name; ^ excludes.
    """
    text = setting(node, found, "NCCL_IB_HCA") or ""
    excluded = text.startswith("^")
    text = text.removeprefix("^")
    exact = text.startswith("=")
    wanted = [entry.partition(":") for entry in text.removeprefix("=").split(",") if entry]
    if not wanted:
        return found.ports

    def matches(port: Port) -> bool:
        return any(
            (port.device == name if exact else port.device.startswith(name))
            and number in ("", str(port.port))
            for name, _, number in wanted
        )

    return tuple(port for port in found.ports if matches(port) is not excluded)


def judge_rdma(
    context: Context,
    verdict: Callable[[NodeContext, Rdma], Verdict],
    without: Callable[[NodeContext, Rdma], Verdict] | None = None,
) -> list[Finding]:
    """Return the findings of `verdict` on the nodes that have InfiniBand or RoCE devices.

    It is skipped on nodes without them, and if NCCL is set to ignore them; `without` is the verdict on a
    node without, if other nodes have some.
    """
    if context.none_has(RDMA, lambda found: found.ports):
        return for_all(context, skip(f"{_NO_DEVICE} on any node"))

    def judge(node: NodeContext) -> Verdict:
        found = node.answer(RDMA)
        if setting(node, found, "NCCL_IB_DISABLE") == "1":
            return skip("NCCL_IB_DISABLE=1: NCCL does not use the RDMA devices")
        if not found.ports:
            return without(node, found) if without else skip(_NO_DEVICE)
        return verdict(node, found)

    return judge_nodes(context, judge)
