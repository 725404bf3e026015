"""The RDMA devices of a node as its probe tells them, and which of their ports NCCL would use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import Context, Finding, NoAnswer, NodeContext, Probe
from orchestrator.preflight.verdict import Verdict, incomplete, skip

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) Gb/sec")
_NO_DEVICE = "no InfiniBand or RoCE device"


@dataclass(frozen=True)
class Gid:
    """One address of a RoCE port; `kind` is "RoCE v2" or "IB/RoCE v1"."""

    index: int
    gid: str
    kind: str | None

    @property
    def routable(self) -> bool:
        """Whether it is of RoCE v2, and of more than one link."""
        return self.kind == "RoCE v2" and not self.gid.startswith("fe80")

    @property
    def ipv4(self) -> bool:
        return self.routable and self.gid.startswith("0000:0000:0000:0000:0000:ffff:")


@dataclass(frozen=True)
class Port:
    """One port of an RDMA device; `rate` is in Gb/s, `state` and `phys` in the kernel's words."""

    device: str
    number: int
    interfaces: tuple[str, ...]
    state: str
    phys: str
    rate: float | None
    layer: str
    counters: Mapping[str, int]
    gids: tuple[Gid, ...]

    @property
    def name(self) -> str:
        return f"{self.device}/{self.number}"

    @property
    def active(self) -> bool:
        return self.state == "ACTIVE"

    @classmethod
    def parse(cls, device: Mapping[str, Any], raw: Mapping[str, Any]) -> Port:
        rate = _RATE.match(raw["rate"] or "")
        return cls(
            device=text(device["name"], 64),
            number=int(raw["port"]),
            interfaces=tuple(str(name)[:15] for name in device["interfaces"]),
            state=_word(raw["state"]),
            phys=_word(raw["phys"]),
            rate=float(rate.group(1)) if rate else None,
            layer=text(raw["layer"] or "unknown", 40),
            counters={str(name): int(value) for name, value in raw["counters"].items()},
            gids=tuple(
                Gid(int(g["index"]), text(g["gid"]), optional(text, g["type"])) for g in raw["gids"]
            ),
        )


@dataclass(frozen=True)
class Rdma:
    """What one node's probe `infiniband` found.

    Amazon's EFA adapters, which NCCL uses in another way, are apart. `verbs` counts the device files that
    programs open. `environment` is the login's own.
    """

    ports: tuple[Port, ...]
    efa: tuple[Port, ...]
    verbs: int
    environment: Mapping[str, str]
    peermem: bool
    kernel: str

    @classmethod
    def parse(cls, raw: Any) -> Rdma:
        ports = [
            (device["driver"] == "efa", Port.parse(device, port))
            for device in raw["devices"]
            for port in device["ports"]
        ]
        return cls(
            ports=tuple(port for is_efa, port in ports if not is_efa),
            efa=tuple(port for is_efa, port in ports if is_efa),
            verbs=int(raw["verbs"]),
            environment={str(name): str(value) for name, value in raw["environment"].items()},
            peermem=bool(raw["gdr"]["peermem"]),
            kernel=text(raw["gdr"]["kernel"]),
        )


RDMA = Probe("infiniband", Rdma.parse)


def setting(node: NodeContext, found: Rdma, name: str) -> str | None:
    """Return what the ranks of this node will see as the variable `name`."""
    return node.plan.environment.get(name, found.environment.get(name))


def chosen(node: NodeContext, found: Rdma) -> tuple[Port, ...]:
    """Return the ports that NCCL_IB_HCA leaves to NCCL.

    Its form is [^][=]NAME[:PORT],...: a name is the beginning of one, after = a whole one; ^ excludes.
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
            and number in ("", str(port.number))
            for name, _, number in wanted
        )

    return tuple(port for port in found.ports if matches(port) is not excluded)


def judge_rdma(
    context: Context,
    verdict: Callable[[NodeContext, Rdma], Verdict],
    without: Callable[[NodeContext, Rdma], Verdict] | None = None,
) -> list[Finding]:
    """Return the findings of `verdict` on the nodes that have InfiniBand or RoCE devices.

    It is skipped where there are none, and where NCCL is told to leave them alone; `without` is the
    verdict on a node without among nodes with some.
    """
    found = context.of(RDMA)
    answers = [answer for answer in found.values() if isinstance(answer, Rdma)]
    if len(answers) == len(found) and not any(answer.ports for answer in answers):
        return for_all(context, skip(f"{_NO_DEVICE} on any node"))

    def judge(node: NodeContext, answer: Rdma | NoAnswer) -> Verdict:
        if isinstance(answer, NoAnswer):
            return incomplete(answer.reason)
        if setting(node, answer, "NCCL_IB_DISABLE") == "1":
            return skip("NCCL_IB_DISABLE=1: NCCL leaves the RDMA devices alone")
        if not answer.ports:
            return without(node, answer) if without else skip(_NO_DEVICE)
        return verdict(node, answer)

    return to_findings((node.name, judge(node, found[node.name])) for node in context.nodes)


def _word(raw: Any) -> str:
    """Return the word of what the kernel writes as "4: ACTIVE"."""
    return text(raw or "unknown", 40).rpartition(": ")[2]
