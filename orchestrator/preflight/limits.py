"""Storage, limits and the clock: what a job finds too little of once it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.judge import Verdict, judge_each
from orchestrator.preflight.model import Check, Finding, Group, Level, Probe, Status
from orchestrator.preflight.scene import Scene, Subject

_GIB = 1 << 30


@dataclass(frozen=True)
class SharedMemory:
    """The file system of /dev/shm, in bytes."""

    size: int
    free: int

    @classmethod
    def parse(cls, raw: Any) -> SharedMemory | None:
        """Return what a node answered; None where there is no /dev/shm."""
        return None if raw is None else cls(int(raw["size"]), int(raw["free"]))


SHM = Probe("shm", SharedMemory.parse)


def _shm(scene: Scene) -> list[Finding]:
    def verdict(subject: Subject, found: SharedMemory | None) -> Verdict:
        if found is None:
            return Verdict(Status.FAIL, "there is no /dev/shm", "mount a tmpfs there")
        data = {"size": found.size, "free": found.free}
        if found.size < _GIB:
            return Verdict(
                Status.FAIL,
                f"/dev/shm is only {found.size / _GIB:.2f} GiB: NCCL and data loaders share memory there",
                "make it larger (in a container: --shm-size=16g or --ipc=host)",
                ("mount -o remount,size=16g /dev/shm",),
                data,
            )
        return Verdict(Status.PASS, f"/dev/shm has {found.size / _GIB:.1f} GiB", data=data)

    return judge_each(scene, SHM, verdict)


CHECKS = (
    Check(
        id="shm",
        group=Group.LIMITS,
        level=Level.FULL,
        meaning="/dev/shm is large enough for NCCL and data loaders",
        page="The size of the file system at `/dev/shm`. Less than 1 GiB fails: NCCL's transport between "
        "the GPUs of one node and the workers of a DataLoader share memory there, and die with a bus "
        "error when it is full. Containers have 64 MiB unless told otherwise.",
        verdict=_shm,
        probes=(SHM,),
    ),
)
