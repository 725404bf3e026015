"""What joins the GPUs of a node: NVLink, and the fabric of NVSwitches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.gpus.devices import GPU, Gpus, each_gpu_node, numbered
from orchestrator.preflight.judge import for_all, judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn
from orchestrator.util.quoting import command_line

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,9}")


def _package(raw: Any) -> str | None:
    """Return the name of a package that is safe in a shell line."""
    return raw if raw and _PACKAGE.fullmatch(raw) else None


@dataclass(frozen=True)
class Links:
    """The NVLinks of one GPU; `inactive` has -1 for "all". `errors` are counts above zero, by kind."""

    gpu: int
    active: int
    inactive: tuple[int, ...]
    errors: Mapping[str, int]


@dataclass(frozen=True)
class NvLink:
    """The NVLinks of a node's GPUs as nvidia-smi reports them, or the error."""

    error: str | None
    gpus: tuple[Links, ...]


@dataclass(frozen=True)
class Manager:
    """The fabric manager of a node: its path, its version, its state in systemd, and its package."""

    manager: str | None
    version: str | None
    active: str | None
    package: Annotated[str | None, _package]


NVLINK = Probe("fabric.nvlink", reader(NvLink))
FABRIC = Probe("fabric", reader(Manager))


@check("gpu.nvlink", Group.GPU, probes=(GPU, NVLINK))
def check_nvlink(context: Context) -> list[Finding]:
    """Every GPU has as many active NVLinks as the others, without errors.

    `nvidia-smi nvlink --status` and its error counters. A GPU with fewer active links than most of the
    job's GPUs warns (NCCL uses PCIe, many times slower), one with none fails. Replay, recovery and CRC
    errors warn. A reset of the GPUs trains the links again; a link that stays down is a hardware fault.
    Skipped if no GPU has NVLink.
    """
    answers, gpus = context.answers_to(NVLINK), context.answers_to(GPU)
    own = {name: _of_the_job(context, name, found) for name, found in answers.items()}
    active = {(name, each.gpu): each.active for name, a in own.items() for each in a.gpus}
    common = most_common({f"{name} {gpu}": count for (name, gpu), count in active.items()}) or 0

    def verdict(node: NodeContext) -> Verdict:
        if node.name in gpus and not gpus[node.name].served:
            return skip("no NVIDIA GPU")
        found = node.answer(NVLINK)
        if found.gpus and not own[node.name].gpus:
            return skip("no rank uses a GPU")
        return incomplete(found.error) if found.error else _judge_links(own[node.name], common)

    return judge_nodes(context, verdict)


def _of_the_job(context: Context, name: str, found: NvLink) -> NvLink:
    """Return the links of the GPUs that ranks of a node may see; of all if that is not known."""
    gpus = context.answers_to(GPU).get(name)
    if gpus is None or not gpus.gpus:
        return found
    (node,) = [each for each in context.nodes if each.name == name]
    seen = {gpu.index for gpu in gpus.visible_to(node)}
    return replace(found, gpus=tuple(each for each in found.gpus if each.gpu in seen))


def _judge_links(found: NvLink, common: int) -> Verdict:
    dead = [each.gpu for each in found.gpus if not each.active]
    low = [each for each in found.gpus if each.active < common]
    noisy = [each for each in found.gpus if each.errors]
    if not found.gpus:
        if not common:
            return skip("no GPU with NVLink")
        verdict = warn("no NVLink, but the GPUs of other nodes have it")
    elif low:
        counts = ", ".join(map(str, sorted({each.active for each in low})))
        few = f"{numbered(each.gpu for each in low)}: {counts} NVLinks are active"
        none = f"{numbered(dead)}: no NVLink is active"
        verdict = Verdict(
            Status.FAIL if dead else Status.WARN,
            f"{none if dead else few}; others have {common}",
            "reset all GPUs of the node when nothing uses them (with NVSwitches restart the fabric manager "
            "first); a link that stays down is a hardware fault",
            ("nvidia-smi --gpu-reset",),
        )
    elif noisy:
        kinds = sorted({kind for each in noisy for kind in each.errors})
        verdict = warn(
            f"{numbered(each.gpu for each in noisy)}: NVLink errors ({', '.join(kinds)})",
            "see whether they grow while a job runs (nvidia-smi nvlink -e): a link that repeats packets is "
            "slow, and one that recovers often fails in the end",
        )
    else:
        verdict = passed(f"{common} NVLinks per GPU are active")
    data = {
        str(each.gpu): {
            "active": each.active,
            "inactive": list(each.inactive),
            "errors": dict(each.errors),
        }
        for each in found.gpus
    }
    return replace(verdict, data=data)


@check("gpu.fabric", Group.GPU, probes=(GPU, FABRIC))
def check_fabric(context: Context) -> list[Finding]:
    """The fabric manager of NVSwitch systems runs, in the driver's version.

    On machines with NVSwitches (HGX, DGX): the state of the `nvidia-fabricmanager` service, its version and
    the driver's, and each GPU's fabric state in `nvidia-smi -q`. Another version, a service that does not
    run, a state other than *Completed* or a status other than *Success* fail: CUDA then ends with *Error
    802: system not yet initialized*, and only on that node. Unhealthy links warn. If GPUs report no state
    (before Hopper) and the service cannot be seen, as in a container, it is incomplete. Skipped without
    NVSwitches.
    """

    def verdict(node: NodeContext, found: Gpus) -> Verdict:
        if not found.switches and all(gpu.fabric.state is None for gpu in found.gpus):
            return skip("no NVSwitch")
        manager = node.answer(FABRIC)
        data = {
            "switches": found.switches,
            "driver": found.version,
            "manager": manager.version,
            "active": manager.active,
            "states": [list(vars(gpu.fabric).values()) for gpu in found.gpus],
        }
        return replace(_judge_fabric(found, manager), data=data)

    findings = each_gpu_node(verdict)(context)
    if all(finding.status is Status.SKIP for finding in findings):
        return for_all(context, skip("no NVSwitch on any node"))
    return findings


def _judge_fabric(found: Gpus, manager: Manager) -> Verdict:
    states = [(gpu, gpu.fabric) for gpu in found.gpus]
    waiting = [gpu for gpu, fabric in states if fabric.state not in (None, "Completed")]
    refused = [
        gpu
        for gpu, fabric in states
        if fabric.state == "Completed" and fabric.status not in (None, "Success")
    ]
    sick = [gpu for gpu, fabric in states if fabric.health not in (None, "Healthy")]
    registered = all(fabric.state == "Completed" for _, fabric in states)
    install = "install the fabric manager of exactly the driver's version, and start it"
    if found.version and manager.version and found.version != manager.version:
        return fail(
            f"fabric manager {manager.version} with driver {found.version}: it does not work with another "
            "version, and CUDA ends with Error 802",
            install,
            _install(manager, found.version),
        )
    if waiting or refused:
        word = waiting[0].fabric.state if waiting else refused[0].fabric.status
        return fail(
            f"{numbered(waiting or refused)}: not registered with the NVLink fabric ({word}): CUDA ends "
            "with Error 802, system not yet initialized",
            "start the fabric manager, and wait until nvidia-smi -q shows the fabric state Completed; "
            "journalctl -u nvidia-fabricmanager shows what is wrong",
            ("systemctl enable nvidia-fabricmanager", "systemctl restart nvidia-fabricmanager"),
        )
    if sick:
        return warn(
            f"{numbered(sick)}: the NVLink fabric is {(sick[0].fabric.health or '').lower()}",
            "see nvidia-smi -q under Fabric, Health; reset the GPUs, or have the node checked",
        )
    if found.switches and manager.active in ("inactive", "failed", "activating", "deactivating"):
        stopped = f"the fabric manager is {manager.active}, and there are NVSwitches"
        if registered:
            message = f"{stopped}: they work until the next reset"
        else:
            message = f"{stopped}: CUDA ends with Error 802"
        start = "start the fabric manager; journalctl -u nvidia-fabricmanager shows why it ended"
        return Verdict(
            Status.WARN if registered else Status.FAIL,
            message,
            start if manager.manager else install,
            ("systemctl enable --now nvidia-fabricmanager",) if manager.manager else (),
        )
    if registered or manager.active == "active":
        return passed("the GPUs are registered with the NVLink fabric")
    return Verdict(
        Status.INCOMPLETE,
        "there are NVSwitches, but the fabric manager cannot be seen from here (a container?)",
    )


def _install(manager: Manager, driver: str) -> tuple[str, ...]:
    """Return the lines that install the fabric manager for `driver` in place of this one."""
    if manager.package is None or not _VERSION.fullmatch(driver):
        return ()
    package = re.sub(r"\d+$", driver.partition(".")[0], manager.package)
    return (
        command_line(["apt-get", "install", "-y", f"{package}={driver}*"]),
        "systemctl restart nvidia-fabricmanager",
    )


CHECKS = (check_nvlink, check_fabric)
