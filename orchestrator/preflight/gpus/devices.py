"""The GPUs of a node as its probe tells them, and which of them the job's ranks will use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import Context, Finding, NoAnswer, NodeContext, Probe
from orchestrator.preflight.verdict import Verdict, incomplete, skip

_ADDRESS = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F]")


@dataclass(frozen=True)
class Process:
    """A process that nvidia-smi shows on a GPU; `used` is in MiB, `owner` None outside this container,
    `run` orch's name of its run, if it has one.
    """

    pid: int | None
    name: str
    used: int | None
    owner: str | None
    run: str | None = None


@dataclass(frozen=True)
class Gpu:
    """One GPU of NVIDIA's; what its driver or its kind does not have is None.

    `index` is its place in PCI order, `memory` and `used` are in MiB, `volatile` counts uncorrectable ECC
    errors since the driver was loaded or the GPU reset, `aggregate` those of its life. `flags` say what
    waits for a reset or a repair. `sick` is what nvidia-smi has in place of values when it is lost.
    """

    index: int
    bus: str
    minor: int | None
    name: str
    uuid: str
    memory: int | None
    used: int | None
    mig: bool
    volatile: int | None
    aggregate: int | None
    flags: Mapping[str, str | None]
    fabric_state: str | None
    fabric_status: str | None
    fabric_health: str | None
    sick: str | None
    processes: tuple[Process, ...]

    @classmethod
    def parse(cls, index: int, raw: Mapping[str, Any]) -> Gpu:
        fabric = raw["fabric"]
        return cls(
            index=index,
            bus=_address(raw["bus"]),
            minor=optional(int, raw["minor"]),
            name=optional(text, raw["name"]) or "an unknown GPU",
            uuid=optional(text, raw["uuid"]) or "",
            memory=optional(int, raw["memory"]),
            used=optional(int, raw["used"]),
            mig=bool(raw["mig"]),
            volatile=optional(int, raw["volatile"]),
            aggregate=optional(int, raw["aggregate"]),
            flags={str(name): optional(text, value) for name, value in raw["flags"].items()},
            fabric_state=optional(text, fabric["state"]),
            fabric_status=optional(text, fabric["status"]),
            fabric_health=optional(text, fabric["health"]),
            sick=optional(text, raw["sick"]),
            processes=tuple(
                Process(
                    _pid(p["pid"]),
                    str(p["name"]),
                    optional(int, p["used"]),
                    optional(text, p["owner"]),
                    optional(text, p.get("run")),
                )
                for p in raw["processes"]
            ),
        )

    @property
    def selector(self) -> str:
        """What names it for `nvidia-smi -i`; the address stays when a GPU before it is lost."""
        return self.bus or str(self.index)


@dataclass(frozen=True)
class Gpus:
    """What one node's probe `gpu` found.

    `devices` are the N of its /dev/nvidiaN, `drivers` who serves each of NVIDIA's GPUs on the PCI bus,
    `switches` its NVSwitches there. `error` is why nvidia-smi did not tell all, `mute` that there is none.
    """

    devices: tuple[int, ...]
    drivers: tuple[str | None, ...]
    switches: int
    version: str | None
    open: bool
    visible: str | None
    amd: int
    error: str | None
    hung: bool
    gpus: tuple[Gpu, ...]
    mute: bool = False

    @classmethod
    def parse(cls, raw: Any) -> Gpus:
        smi = raw["smi"] or {"error": None, "hung": False, "gpus": []}
        return cls(
            devices=tuple(int(number) for number in raw["devices"]),
            drivers=tuple(optional(text, entry["driver"]) for entry in raw["pci"]),
            switches=int(raw["switches"]),
            version=optional(text, raw["version"]),
            open=bool(raw["open"]),
            visible=optional(text, raw["visible"]),
            amd=int(raw["amd"]),
            error=optional(text, smi["error"]),
            hung=bool(smi["hung"]),
            gpus=tuple(Gpu.parse(index, entry) for index, entry in enumerate(smi["gpus"])),
            mute=bool(smi.get("missing", False)),
        )

    @property
    def served(self) -> bool:
        """Whether NVIDIA's driver serves any GPU here."""
        return bool(self.devices or self.gpus)

    @property
    def count(self) -> int:
        """How many GPUs there are to run on, of whatever make."""
        return len(self.gpus) or (len(self.devices) if self.mute else 0) or self.amd


GPU = Probe("gpu", Gpus.parse)


def seen(node: NodeContext, found: Gpus) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves to the job.

    CUDA orders GPUs by speed unless told otherwise, nvidia-smi by PCI address: of like GPUs, the same.
    """
    variable = node.plan.environment.get("CUDA_VISIBLE_DEVICES", found.visible)
    if variable is None or "MIG-" in variable:
        return found.gpus
    chosen: list[Gpu] = []
    for entry in variable.split(","):
        name = entry.strip()
        match = [
            gpu
            for gpu in found.gpus
            if name == str(gpu.index) or (name[:4] == "GPU-" and gpu.uuid.startswith(name))
        ]
        if not match:
            break  # CUDA, too, ends at the first that there is not
        chosen.append(match[0])
    return tuple(chosen)


def used(node: NodeContext, found: Gpus) -> tuple[Gpu, ...]:
    """Return the GPUs that the ranks of this node will use: one each, from the first."""
    return seen(node, found)[: node.plan.devices]


def judge_gpus(
    context: Context, verdict: Callable[[NodeContext, Gpus], Verdict], looks: str = "this"
) -> list[Finding]:
    """Return the findings of `verdict` on the nodes where nvidia-smi shows GPUs.

    Where NVIDIA's driver serves none the check is skipped; where nvidia-smi tells of none though there
    are some, it is incomplete.
    """
    found = context.of(GPU)
    answers = [answer for answer in found.values() if isinstance(answer, Gpus)]
    if len(answers) == len(found) and not any(answer.served for answer in answers):
        amd = any(answer.amd for answer in answers)
        reason = f"{looks} is known of NVIDIA's GPUs only" if amd else "no NVIDIA GPU"
        return for_all(context, skip(reason))

    def judge(node: NodeContext, answer: Gpus | NoAnswer) -> Verdict:
        if isinstance(answer, NoAnswer):
            return incomplete(answer.reason)
        if not answer.served:
            return skip("no NVIDIA GPU")
        if not answer.gpus:
            return incomplete(f"nvidia-smi: {answer.error or 'it shows no GPU'}")
        return verdict(node, answer)

    return to_findings((node.name, judge(node, found[node.name])) for node in context.nodes)


def numbered(gpus: Iterable[Gpu | int]) -> str:
    """Return "GPU 3" or "GPUs 0, 3"."""
    numbers = sorted({gpu if isinstance(gpu, int) else gpu.index for gpu in gpus})
    return f"GPU{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def same_bus(one: str, other: str) -> bool:
    """Tell whether two PCI addresses are of one device: "0000:65:00" is "00000000:65:00.0"."""
    return _bus(one) == _bus(other)


def _bus(address: str) -> tuple[str, ...]:
    domain, *rest = address.lower().partition(".")[0].split(":")
    return (domain.lstrip("0"), *rest)


def _address(raw: Any) -> str:
    """Return a PCI address that a shell line may hold; "" for none."""
    if raw and not _ADDRESS.fullmatch(raw):
        raise ValueError(f"not a PCI address: {raw!r}")
    return str(raw or "")


def _pid(raw: Any) -> int | None:
    """Return a process id that `kill` may be given."""
    return int(raw) if raw is not None and int(raw) > 1 else None
