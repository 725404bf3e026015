"""GPUs: is there one for each rank, of one kind, and nobody else on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.preflight.gpus import health, nvlink
from orchestrator.preflight.gpus.devices import GPU, Gpu, Gpus, judge_gpus, numbered, seen, used
from orchestrator.preflight.judge import for_all, judge_each, most_common
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    NodeContext,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, skip, warn
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import counted, some

# What nvidia-smi says.
_MISMATCH = "version mismatch"
_NO_DRIVER = "communicate with the NVIDIA driver"
_BUSY = 1024  # MiB: the driver itself, and a desktop, take less


@check("gpu", Group.GPU, probes=(GPU,))
def check_gpu(context: Context) -> list[Finding]:
    """There is a working GPU for each rank, of one kind on all nodes.

    The GPUs on the PCI bus, in `/dev`, and in `nvidia-smi -q -x`, less those that `CUDA_VISIBLE_DEVICES`
    hides, held against the ranks of the plan.

    Fails: fewer GPUs than ranks (NCCL ends with *Duplicate GPU detected*); a `/dev/nvidiaN` whose GPU
    `nvidia-smi` does not show, or shows as lost (reboot); a driver that is not loaded or does not fit its
    libraries; an `nvidia-smi` that hangs; a node without a GPU among nodes that have some. Warns: another
    number or model than most nodes have, MIG mode (a process sees one slice, and NCCL does not join slices:
    `nvidia-smi -mig 0`). AMD's GPUs are counted, and no more is looked at. Skipped where no node has a GPU.
    """
    found = context.of(GPU)
    answers = context.answers_to(GPU)
    somewhere = any(answer.count for answer in answers.values())
    silent = any(isinstance(answer, NoAnswer) for answer in found.values())
    hardware = any(a.served or a.drivers or a.amd for a in answers.values())
    if not silent and not hardware:
        return for_all(context, skip("no GPU on any node"))
    common = most_common(
        {s.name: _kind(s, answers[s.name]) for s in context.nodes if s.name in answers}
    )

    def verdict(node: NodeContext, answer: Gpus) -> Verdict:
        if answer.count:
            return _some(node, answer, common)
        return _none(node, answer, somewhere)

    return judge_each(context, GPU, verdict)


def _none(node: NodeContext, found: Gpus, somewhere: bool) -> Verdict:
    """Return the verdict on a node that offers no GPU; `somewhere` tells whether another node does."""
    ranks = node.plan.devices
    data = {"devices": list(found.devices), "drivers": list(found.drivers), "error": found.error}
    if found.hung:
        return fail(
            f"nvidia-smi hangs ({found.error}): so will CUDA",
            "a GPU or the driver does not answer. If `timeout 60 nvidia-smi` ends after all, turn on "
            "persistence mode (nvidia-smi -pm 1); if it does not, reboot the node",
            data=data,
        )
    if found.devices:
        text, commands = _broken(found.error or "")
        return fail(f"nvidia-smi shows no GPU: {found.error}", text, commands, data)
    if found.drivers:
        why, text, commands = _unserved(found.drivers)
        count = len(found.drivers)
        return Verdict(
            Status.FAIL if somewhere else Status.WARN,
            f"{counted(count, 'NVIDIA GPU')} on the PCI bus, but no /dev/nvidia0: {why}",
            text,
            commands,
            data,
        )
    if somewhere:
        return fail(
            f"no GPU for its {counted(ranks, 'rank')}, though other nodes have some: NCCL needs one for "
            "each rank",
            "leave it out with --exclude, or run all ranks without GPUs (CUDA_VISIBLE_DEVICES= and gloo)",
            data=data,
        )
    return skip("no GPU")


def _broken(error: str) -> tuple[str, tuple[str, ...]]:
    """Return what mends a driver of which nvidia-smi says `error`."""
    if _MISMATCH in error:
        return (
            "the driver was updated under the running module: reboot the node, or unload and load nvidia",
            (),
        )
    if _NO_DRIVER in error:
        return (
            "load the driver. Where it does not load it was not built for this kernel: `dkms status` tells",
            ("modprobe nvidia",),
        )
    return "look at the kernel log (gpu.xid); a GPU that is lost needs a reboot of the node", ()


def _unserved(drivers: tuple[str | None, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Return why nothing serves the GPUs on the PCI bus, and what mends that."""
    bound = {driver for driver in drivers if driver}
    if not bound:
        return "no driver is loaded", "load NVIDIA's driver, or install it", ("modprobe nvidia",)
    if "nvidia" in bound:
        return (
            "this container was not given them",
            "start the container with --gpus all; on a host, `nvidia-modprobe -u -c 0` makes the files",
            (),
        )
    return (
        f"{', '.join(sorted(bound))} has them, not NVIDIA's driver",
        "bind them to NVIDIA's driver, or install it",
        (),
    )


def _some(node: NodeContext, found: Gpus, common: tuple[int, str] | None) -> Verdict:
    ranks = node.plan.devices
    count, name = _kind(node, found)
    data = {
        "gpus": [gpu.name for gpu in found.gpus],
        "driver": found.version,
        "visible": count,
        "ranks": ranks,
        "amd": found.amd,
        "error": found.error,
    }
    lost = _lost(found)
    if lost:
        return fail(
            lost,
            "a GPU that fell off the bus needs a reboot of the node, and a look at its seat, power "
            "and temperature when it comes again. Under a cgroup (Slurm, a container), ask for it",
            data=data,
        )
    if count == 0:
        return skip("CUDA_VISIBLE_DEVICES leaves no GPU to the job", data=data)
    if ranks > count:
        return fail(
            f"{counted(ranks, 'rank')}, but {counted(count, 'GPU')}: NCCL refuses two ranks on one "
            "(Duplicate GPU detected)",
            f"run one rank a GPU: --nproc auto, or devices: {count} for it in the inventory",
            data=data,
        )
    mig = [gpu for gpu in used(node, found) if gpu.mig]
    if mig:
        return warn(
            f"MIG mode is on for {numbered(mig)}: a process sees one slice, and NCCL does not join slices",
            "turn MIG off for training over several ranks, with nothing running on the GPU",
            tuple(f"nvidia-smi -i {gpu.selector} -mig 0" for gpu in mig),
            data,
        )
    here = f"{counted(count, 'GPU')}, {name}" if name else counted(count, "GPU")
    if common is not None and (count, name) != common:
        return warn(
            f"{here}; most nodes: {counted(common[0], 'GPU')}, {common[1] or 'unknown'}. The slowest sets "
            "the pace",
            data=data,
        )
    if found.mute:
        return Verdict(
            Status.INCOMPLETE,
            f"{counted(count, 'GPU')}, but no nvidia-smi to ask how they are",
            "put nvidia-smi on the PATH (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
            data=data,
        )
    return passed(f"{here}, for {counted(ranks, 'rank')}", data=data)


def _lost(found: Gpus) -> str | None:
    """Return what is said of GPUs that are there and do not work."""
    sick = [gpu for gpu in found.gpus if gpu.sick]
    if sick:
        return f"{numbered(sick)}: nvidia-smi says {sick[0].sick!r}"
    minors = [gpu.minor for gpu in found.gpus]
    missing = sorted(set(found.devices).difference(m for m in minors if m is not None))
    if found.gpus and None not in minors and missing:
        files = ", ".join(f"/dev/nvidia{number}" for number in missing)
        why = f" ({found.error})" if found.error else ""
        return f"{files}: nvidia-smi does not show this GPU{why}: it fell off the bus, or is denied"
    return None


def _kind(node: NodeContext, found: Gpus) -> tuple[int, str]:
    """Return (how many GPUs the job sees, what they are)."""
    gpus = seen(node, found)
    if not found.gpus:
        return found.count, "AMD" if found.amd and not found.served else ""
    return len(gpus), " and ".join(sorted({gpu.name for gpu in gpus}))


@check("gpu.busy", Group.GPU, probes=(GPU,))
def check_busy(context: Context) -> list[Finding]:
    """Nobody else uses the GPUs of the job.

    The processes that `nvidia-smi` shows on the GPUs that the ranks will use, with owner and memory. Warns
    of any, and of more than 1 GiB in use where no process can be seen (it is in another container): the job
    would run out of memory, or share the GPU's time. Left-overs of an old job are to be killed; others are
    somebody's work.
    """

    def verdict(node: NodeContext, found: Gpus) -> Verdict:
        busy = [gpu for gpu in used(node, found) if gpu.processes or (gpu.used or 0) > _BUSY]
        data = {str(gpu.index): _occupants(gpu) for gpu in busy}
        if not busy:
            return passed("nobody else is on the GPUs of the job")
        there = [process for gpu in busy for process in gpu.processes if process.pid]
        pids = sorted({process.pid for process in there if process.pid and not process.run})
        runs = sorted({process.run for process in there if process.run})
        if not there:
            return warn(
                f"{numbered(busy)}: memory is in use by processes that cannot be seen from here",
                "look on the host for them, or in other containers (nvidia-smi)",
                data=data,
            )
        said = "; ".join(dict.fromkeys(_said(gpu) for gpu in busy if gpu.processes))
        return warn(
            f"somebody is on the GPUs: {said}",
            _ending(runs, others=bool(pids)),
            (f"kill {' '.join(map(str, pids))}",) if pids else (),
            data,
        )

    return judge_gpus(context, verdict, "who uses GPUs")


def _ending(runs: Sequence[str], *, others: bool) -> str:
    """Return what to do about runs of orch's, which are ended by their name, and other processes."""
    stops = " and ".join(f"`{line_to_paste(['orch', 'stop', run])}`" for run in runs)
    ways = (
        [f"{stops} where it was launched, or queue behind it with `orch launch --wait`"]
        if runs
        else []
    )
    if others:
        ways.append("wait for them, or end them if they are left over from a job of yours")
    return "; ".join(ways)


def _occupants(gpu: Gpu) -> Mapping[str, object]:
    return {
        "used": gpu.used,
        "memory": gpu.memory,
        "processes": [
            {"pid": p.pid, "name": p.name, "used": p.used, "owner": p.owner} for p in gpu.processes
        ],
    }


def _said(gpu: Gpu) -> str:
    names = []
    for process in gpu.processes:
        owner = f" of {process.owner}" if process.owner else ""
        memory = f", {process.used} MiB" if process.used is not None else ""
        program = process.name.split(" ")[0].rpartition("/")[2]
        names.append(f"{process.pid} ({program or '?'}{owner}{memory})")
    return f"GPU {gpu.index}: {some(names, 4)}"


CHECKS = (
    check_gpu,
    check_busy,
    *health.CHECKS,
    *nvlink.CHECKS,
)
