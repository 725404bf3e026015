"""The GPUs that the ranks of a node see, and how many ranks it has: `devices` and --nproc on a real node.

CUDA_VISIBLE_DEVICES of the job, else of the inventory's `env`, else of the login there, says what ranks may
see (for AMD's GPUs, other variables: `node/visible.py`). `devices` chooses among that, by the indices of
`nvidia-smi -L`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import PlanError
from orchestrator.inventory import Host
from orchestrator.inventory.devices import Selection, selection, written
from orchestrator.inventory.ranges import fold
from orchestrator.node.visible import CUDA, HIP, VisibleGpus
from orchestrator.plan.facts import Facts
from orchestrator.plan.job import Job
from orchestrator.util.numbers import folded
from orchestrator.util.text import counted, quoted

_ORDER = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True)
class Devices:
    """The number of `ranks` of a node and of the `gpus` that they see, by these variables."""

    ranks: int
    gpus: int
    environment: Mapping[str, str] = field(default_factory=dict)


def assign_devices(hosts: Sequence[Host], facts: Sequence[Facts], job: Job) -> tuple[Devices, ...]:
    """Return the devices of each node. Raises PlanError if nodes lack what they are asked for."""
    found: list[Devices] = []
    faults: dict[tuple[str, str | None], list[str]] = {}
    for host, fact in zip(hosts, facts, strict=True):
        try:
            found.append(devices_of(host, fact, job))
        except PlanError as error:
            faults.setdefault((error.text, error.remedy), []).append(error.node)
    if faults:
        (_, remedy), *_ = faults
        lines = [f"{fold(names)}: {text}" for (text, _), names in faults.items()]
        raise PlanError("\n".join(lines), remedy=remedy)
    return tuple(found)


def devices_of(host: Host, facts: Facts, job: Job) -> Devices:
    """Return the devices of one node. Raises PlanError if it lacks what it is asked for."""
    wanted, asked = _wanted(host, job)
    seen = _Seen({**facts.environment, **host.env, **job.environment}, facts)
    names, environment = seen.names, {}
    if wanted.gpus is not None or wanted.without:
        names = _choose(host.name, asked, wanted, seen)
        environment = seen.variables(names)
    if wanted.ranks == "gpu" and not names:
        why = f"{seen.variable} leaves none of its {counted(seen.total, 'GPU')}"
        raise PlanError(
            f"{asked}: {why if seen.total else 'it has no GPU'}",
            node=host.name,
            remedy="leave the node out with --exclude, or start ranks on the CPU with --nproc cpu",
        )
    ranks = wanted.ranks if isinstance(wanted.ranks, int) else max(1, len(names))
    return Devices(ranks, len(names), environment)


def count_gpus(host: Host, facts: Facts, job: Job) -> int:
    """Return how many GPUs the ranks of a node see."""
    return devices_of(host, facts, job).gpus


def gpu_indices(host: Host, facts: Facts, job: Job) -> tuple[int, ...]:
    """Return the indices of the GPUs that the ranks of a node see. Raises PlanError if it lacks what it is
    asked for, or a variable there names GPUs by UUID.
    """
    wanted, asked = _wanted(host, job)
    seen = _Seen({**facts.environment, **host.env, **job.environment}, facts)
    is_choice = wanted.gpus is not None or wanted.without
    names = _choose(host.name, asked, wanted, seen) if is_choice else seen.names
    if not all(name.isdecimal() for name in names):
        raise PlanError(
            f"{seen.variable}={quoted(','.join(names))} names GPUs there by UUID, which have no index",
            node=host.name,
            remedy=f"set {seen.variable} to indices in the inventory's env",
        )
    return tuple(map(int, names))


def _wanted(host: Host, job: Job) -> tuple[Selection, str]:
    """Return what to start on a node, and the words that ask for it.

    The command's number of ranks keeps the inventory's GPUs, except that `cpu` hides them.
    """
    own, nproc = selection(host.devices), job.nproc_of(host.name)
    if nproc is None:
        return own, f"devices: {written(host.devices)}"
    given = selection(nproc)
    if given.gpus is not None:
        return given, f"--nproc {nproc}"
    if own.gpus is None and not own.without:
        return given, f"--nproc {nproc}"
    return replace(own, ranks=given.ranks), f"devices: {written(host.devices)}"


def _choose(node: str, asked: str, wanted: Selection, seen: _Seen) -> list[str]:
    """Return the names of the wanted GPUs. Raises PlanError if the node's ranks cannot see one of them."""
    if wanted.gpus == ():
        return []
    chosen = [str(index) for index in wanted.gpus or ()]
    lacking = [g for g in (wanted.gpus or wanted.without) if g >= seen.total]
    if lacking:
        has = (
            f"{counted(seen.total, 'GPU')} ({folded(range(seen.total))})" if seen.total else "none"
        )
        raise PlanError(
            f"{asked}: there is no GPU {', '.join(map(str, lacking))}; it has {has}",
            node=node,
            remedy="name GPUs that `nvidia-smi -L` lists there, by their indices",
        )
    if not all(name.isdecimal() for name in seen.names):
        raise PlanError(
            f"{asked}: {seen.variable}={quoted(','.join(seen.names))} names GPUs there by UUID, which have "
            "no index",
            node=node,
            remedy=f"choose with {seen.variable} in the inventory's env, and use devices: auto",
        )
    hidden = [name for name in chosen if name not in seen.names]
    if hidden:
        left = ", ".join(seen.names) or "none"
        raise PlanError(
            f"{asked}: {seen.variable} there leaves out GPU {', '.join(hidden)}; it leaves {left}",
            node=node,
            remedy=f"choose among those, or set {seen.variable} in the inventory's env",
        )
    if wanted.without:
        return [name for name in seen.names if int(name) not in wanted.without]
    return chosen


class _Seen(VisibleGpus):
    """The GPUs that a process in an environment sees on a node with these facts."""

    def __init__(self, environment: Mapping[str, str], facts: Facts) -> None:
        self.total = max(facts.all_gpus, facts.gpus)
        self._environment, self._amd = environment, facts.amd
        super().__init__(environment, self.total, facts.amd)

    def variables(self, names: Sequence[str]) -> dict[str, str]:
        """Return the variables with which processes see just the GPUs `names`."""
        if self._amd:  # an empty value would show all
            return {HIP: ",".join(str(self.among.index(name)) for name in names) or "-1"}
        order = {} if _ORDER in self._environment or not names else {_ORDER: "PCI_BUS_ID"}
        return {CUDA: ",".join(names), **order}
