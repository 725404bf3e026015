"""The GPUs of a node as its probe reports them, and which of them the job's ranks will use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.model import Context, Finding, NodeContext, Probe
from orchestrator.preflight.verdict import Verdict, incomplete, skip
from orchestrator.util.answers import optional

_ADDRESS = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F]")


def _address(raw: Any) -> str:
    """Return a PCI address that is safe in a shell line; "" for none."""
    if raw and not _ADDRESS.fullmatch(raw):
        raise ValueError(f"not a PCI address: {raw!r}")
    return str(raw or "")


def _pid(raw: Any) -> int | None:
    """Return a process id that is safe for `kill`."""
    return int(raw) if raw is not None and int(raw) > 1 else None


def _name(raw: Any) -> str:
    return optional(text, raw) or "an unknown GPU"


@dataclass(frozen=True)
class Process:
    """A process that nvidia-smi shows on a GPU; `used` is in MiB, `owner` None outside this container,
    `run` the name of its run if orch started it.
    """

    pid: Annotated[int | None, _pid]
    name: str
    used: int | None
    owner: str | None
    run: str | None = None


@dataclass(frozen=True)
class Fabric:
    """The state of a GPU in the fabric of NVSwitches, as nvidia-smi prints it."""

    state: str | None
    status: str | None
    health: str | None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; what its driver or its model does not report is None.

    `index` is its place in PCI order, `memory` and `used` are in MiB, `volatile` counts uncorrectable ECC
    errors since the driver was loaded or the GPU reset, `aggregate` those of its life. `flags` say what
    needs a reset or a repair. `sick` is what nvidia-smi prints in place of values if the GPU is lost.
    """

    index: int
    bus: Annotated[str, _address]
    minor: int | None
    name: Annotated[str, _name]
    uuid: str | None
    memory: int | None
    used: int | None
    mig: bool
    volatile: int | None
    aggregate: int | None
    flags: Mapping[str, str | None]
    fabric: Fabric
    sick: str | None
    processes: tuple[Process, ...]

    @property
    def selector(self) -> str:
        """Its name for `nvidia-smi -i`; the address does not change when an earlier GPU is lost."""
        return self.bus or str(self.index)


@dataclass(frozen=True)
class Gpus:
    """What the probe `gpu` of one node found.

    `devices` are the N of its /dev/nvidiaN, `drivers` the driver of each NVIDIA GPU on the PCI bus,
    `switches` the number of NVSwitches there. `error` is why nvidia-smi printed nothing, or not all;
    `missing` is whether there is no nvidia-smi.
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
    missing: bool = False

    @property
    def served(self) -> bool:
        """Whether NVIDIA's driver serves any GPU here."""
        return bool(self.devices or self.gpus)

    @property
    def count(self) -> int:
        """How many GPUs there are to run on, of any make."""
        return len(self.gpus) or (len(self.devices) if self.missing else 0) or self.amd

    def visible_to(self, node: NodeContext) -> tuple[Gpu, ...]:
        """Return the GPUs that CUDA_VISIBLE_DEVICES leaves to the job."""
        return self.shown_by(node.plan.environment.get("CUDA_VISIBLE_DEVICES", self.visible))

    def shown_by(self, variable: str | None) -> tuple[Gpu, ...]:
        """Return the GPUs that this value of CUDA_VISIBLE_DEVICES shows; None: it is not set.

        CUDA orders GPUs by speed by default, nvidia-smi by PCI address: the same for equal GPUs.
        """
        if variable is None or "MIG-" in variable:
            return self.gpus
        names = {str(gpu.index): gpu for gpu in self.gpus}
        chosen: list[Gpu] = []
        for name in map(str.strip, variable.split(",")):
            by_uuid = (
                g for g in self.gpus if name[:4] == "GPU-" and (g.uuid or "").startswith(name)
            )
            gpu = names.get(name) or next(by_uuid, None)
            if gpu is None:
                break  # as CUDA does
            chosen.append(gpu)
        return tuple(chosen)

    def used_by(self, node: NodeContext) -> tuple[Gpu, ...]:
        """Return the GPUs that the ranks of this node will use: one each, from the first."""
        return self.visible_to(node)[: node.plan.devices]


def _parse(raw: Any) -> Gpus:
    smi = raw["smi"] or {"error": None, "hung": False, "gpus": []}
    gpus = [{**gpu, "index": index} for index, gpu in enumerate(smi["gpus"])]
    drivers = [each["driver"] for each in raw["pci"]]
    return reader(Gpus)({**raw, **smi, "drivers": drivers, "gpus": gpus})


GPU = Probe("gpu", _parse)


def each_gpu_node(
    verdict: Callable[[NodeContext, Gpus], Verdict],
) -> Callable[[Context], list[Finding]]:
    """Make the verdict of a check of one on a node where nvidia-smi shows GPUs.

    Other nodes are skipped, or incomplete if NVIDIA's driver serves GPUs that nvidia-smi does not show.
    """

    @wraps(verdict)
    def judge(node: NodeContext) -> Verdict:
        found = node.answer(GPU)
        if not found.served:
            return skip("only NVIDIA GPUs are checked" if found.amd else "no NVIDIA GPU")
        if not found.gpus:
            return incomplete(f"nvidia-smi: {found.error or 'it shows no GPU'}")
        return verdict(node, found)

    return each_node(judge)


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
