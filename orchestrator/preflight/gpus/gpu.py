"""GPUs: whether there is one for each rank, of one kind, and free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.preflight.gpus import health, nvlink
from orchestrator.preflight.gpus.devices import GPU, Gpu, Gpus, each_gpu_node, numbered
from orchestrator.preflight.judge import judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Status, check
from orchestrator.preflight.verdict import Verdict, fail, passed, skip, warn
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import counted, first_few

# Messages of nvidia-smi.
_MISMATCH = "version mismatch"
_NO_DRIVER = "communicate with the NVIDIA driver"
_MAX_IDLE = 1024  # MiB: the driver itself, and a desktop, take less

_Remedy = tuple[str, tuple[str, ...]]


@check("gpu", Group.GPU, probes=(GPU,))
def check_gpu(context: Context) -> list[Finding]:
    """There is a working GPU for each rank, of one kind on all nodes.

    Compares the GPUs on the PCI bus, in `/dev`, and in `nvidia-smi -q -x`, less those that
    `CUDA_VISIBLE_DEVICES` hides, with the ranks of the plan.

    Fails: fewer GPUs than ranks (NCCL ends with *Duplicate GPU detected*); a `/dev/nvidiaN` whose GPU
    `nvidia-smi` does not show, or shows as lost (reboot); a driver that is not loaded or does not match its
    libraries; an `nvidia-smi` that hangs; a node without a GPU among nodes with GPUs. Warns: another number
    or model than on most nodes, MIG mode (a process sees one slice, and NCCL does not join slices:
    `nvidia-smi -mig 0`). AMD GPUs are only counted. Skipped if no node has a GPU.
    """
    answers = context.answers_to(GPU)
    somewhere = any(answers[n.name].count and n.gpus for n in context.nodes if n.name in answers)
    common = most_common(
        {n.name: _kind(n, answers[n.name]) for n in context.nodes if n.name in answers}
    )

    def verdict(node: NodeContext) -> Verdict:
        found = node.answer(GPU)
        if found.count:
            return _judge_gpus(node, found, common)
        return _judge_no_gpu(node, found, somewhere)

    return judge_nodes(context, verdict)


def _kind(node: NodeContext, found: Gpus) -> tuple[int, str]:
    """Return how many GPUs the job sees, and which model they are."""
    if not found.gpus:
        return found.count, "AMD" if found.amd and not found.served else ""
    gpus = found.visible_to(node)
    return len(gpus), " and ".join(sorted({gpu.name for gpu in gpus}))


def _judge_no_gpu(node: NodeContext, found: Gpus, somewhere: bool) -> Verdict:
    """Return the verdict on a node that offers no GPU; `somewhere` is whether another node does."""
    if found.hung:
        verdict = fail(
            f"nvidia-smi hangs ({found.error}): CUDA will hang too",
            "a GPU or the driver does not answer. If `timeout 60 nvidia-smi` does end, turn on persistence "
            "mode (nvidia-smi -pm 1); otherwise reboot the node",
        )
    elif found.devices:
        verdict = fail(f"nvidia-smi shows no GPU: {found.error}", *_fix_driver(found.error or ""))
    elif found.drivers:
        why, remedy = _unserved({driver for driver in found.drivers if driver})
        count = counted(len(found.drivers), "NVIDIA GPU")
        message = f"{count} on the PCI bus, but no /dev/nvidia0: {why}"
        verdict = Verdict(Status.FAIL if somewhere else Status.WARN, message, *remedy)
    elif somewhere:
        ranks = counted(node.plan.devices, "rank")
        verdict = fail(
            f"no GPU for its {ranks}, but other nodes have some: NCCL needs one for each rank",
            "leave it out with --exclude, or run all ranks without GPUs (CUDA_VISIBLE_DEVICES= and gloo)",
        )
    else:
        return skip("no GPU")
    data = {"devices": list(found.devices), "drivers": list(found.drivers), "error": found.error}
    return replace(verdict, data=data)


def _fix_driver(error: str) -> _Remedy:
    """Return how to fix a driver of which nvidia-smi prints `error`."""
    if _NO_DRIVER in error:
        fix = "load the driver. If that fails, it was not built for this kernel: see `dkms status`"
        return fix, ("modprobe nvidia",)
    if _MISMATCH in error:
        return "the driver was updated while it is loaded: reboot the node, or reload nvidia", ()
    return "see the kernel log (gpu.xid); a lost GPU needs a reboot of the node", ()


def _unserved(drivers: set[str]) -> tuple[str, _Remedy]:
    """Return why NVIDIA's driver does not serve the GPUs on the PCI bus, and the remedy."""
    if not drivers:
        return "no driver is loaded", ("load NVIDIA's driver, or install it", ("modprobe nvidia",))
    if "nvidia" in drivers:
        why = "this container was started without them"
        fix = "start the container with --gpus all; on a host, `nvidia-modprobe -u -c 0` makes the files"
    else:
        why = f"{', '.join(sorted(drivers))} has them, not NVIDIA's driver"
        fix = "bind them to NVIDIA's driver, or install it"
    return why, (fix, ())


def _judge_gpus(node: NodeContext, found: Gpus, common: tuple[int, str] | None) -> Verdict:
    """Return the verdict on a node with GPUs; `common` is what most nodes have."""
    count, name = _kind(node, found)
    gpus, ranks = counted(count, "GPU"), counted(node.plan.devices, "rank")
    here = f"{gpus}, {name}" if name else gpus
    mig = [gpu for gpu in found.used_by(node) if gpu.mig]
    if lost := _lost(node, found):
        verdict = fail(
            lost,
            "a GPU that fell off the bus needs a reboot of the node; if it happens again, check its seat, "
            "power and temperature. Under a cgroup (Slurm, a container), request the GPU",
        )
    elif count == 0:
        verdict = skip("no GPU is left to the job, by its devices or CUDA_VISIBLE_DEVICES")
    elif node.plan.devices > count:
        verdict = fail(
            f"{ranks}, but {gpus}: NCCL refuses two ranks on one (Duplicate GPU detected)",
            f"run one rank per GPU: --nproc auto, or devices: {count} for it in the inventory",
        )
    elif mig:
        verdict = warn(
            f"MIG mode is on for {numbered(mig)}: a process sees one slice, and NCCL does not join slices",
            "turn MIG off for training on several ranks, while nothing runs on the GPU",
            tuple(f"nvidia-smi -i {gpu.selector} -mig 0" for gpu in mig),
        )
    elif common is not None and (count, name) != common:
        others = f"{counted(common[0], 'GPU')}, {common[1] or 'unknown'}"
        verdict = warn(f"{here}; most nodes: {others}. The slowest sets the pace")
    elif found.missing:
        verdict = Verdict(
            Status.INCOMPLETE,
            f"{gpus}, but no nvidia-smi to check them with",
            "put nvidia-smi on the PATH (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
        )
    else:
        verdict = passed(f"{here}, for {ranks}")
    data = {
        "gpus": [gpu.name for gpu in found.gpus],
        "driver": found.version,
        "visible": count,
        "ranks": node.plan.devices,
        "amd": found.amd,
        "error": found.error,
    }
    return replace(verdict, data=data)


def _lost(node: NodeContext, found: Gpus) -> str | None:
    """Return which GPUs are there but do not work; None if all that a rank may see work.

    A GPU that nvidia-smi does not show counts in any case: it changes the indices of those after it.
    """
    sick = [gpu for gpu in found.visible_to(node) if gpu.sick]
    if sick:
        return f"{numbered(sick)}: nvidia-smi says {sick[0].sick!r}"
    minors = {gpu.minor for gpu in found.gpus}
    missing = sorted(set(found.devices) - minors)
    if found.gpus and None not in minors and missing:
        files = ", ".join(f"/dev/nvidia{number}" for number in missing)
        why = f" ({found.error})" if found.error else ""
        return f"{files}: nvidia-smi does not show this GPU{why}: it fell off the bus, or is denied"
    return None


@check("gpu.busy", Group.GPU, probes=(GPU,))
@each_gpu_node
def check_busy(node: NodeContext, found: Gpus) -> Verdict:
    """No other process uses the GPUs of the job.

    The processes that `nvidia-smi` shows on the GPUs that the ranks will use, with owner and memory. Warns
    of each, and of more than 1 GiB in use by processes that cannot be seen (in another container): the job
    would run out of memory, or share the GPU's time. Kill what an old job left behind; other processes are
    someone's work.
    """
    busy = [gpu for gpu in found.used_by(node) if gpu.processes or (gpu.used or 0) > _MAX_IDLE]
    if not busy:
        return passed("the GPUs of the job are free")
    data = {str(gpu.index): _occupants(gpu) for gpu in busy}
    there = [process for gpu in busy for process in gpu.processes if process.pid]
    pids = sorted({process.pid for process in there if process.pid and not process.run})
    runs = sorted({process.run for process in there if process.run})
    if not there:
        return warn(
            f"{numbered(busy)}: memory is in use by processes that cannot be seen from here",
            "look for them on the host, or in other containers (nvidia-smi)",
            data=data,
        )
    remedies = []
    if runs:
        stops = " and ".join(f"`{line_to_paste(['orch', 'stop', run])}`" for run in runs)
        remedies.append(f"{stops} where it was launched, or wait for it: `orch launch --wait`")
    if pids:
        remedies.append("wait for them, or kill them if an old job of yours left them behind")
    return warn(
        f"the GPUs are in use: {'; '.join(_users(gpu) for gpu in busy if gpu.processes)}",
        "; ".join(remedies),
        (f"kill {' '.join(map(str, pids))}",) if pids else (),
        data,
    )


def _occupants(gpu: Gpu) -> Mapping[str, object]:
    shown = ("pid", "name", "used", "owner")
    processes = [{key: getattr(process, key) for key in shown} for process in gpu.processes]
    return {"used": gpu.used, "memory": gpu.memory, "processes": processes}


def _users(gpu: Gpu) -> str:
    names = []
    for process in gpu.processes:
        owner = f" of {process.owner}" if process.owner else ""
        memory = f", {process.used} MiB" if process.used is not None else ""
        program = process.name.split(" ")[0].rpartition("/")[2]
        names.append(f"{process.pid} ({program or '?'}{owner}{memory})")
    return f"GPU {gpu.index}: {first_few(names, 4)}"


CHECKS = (check_gpu, check_busy, *health.CHECKS, *nvlink.CHECKS)
