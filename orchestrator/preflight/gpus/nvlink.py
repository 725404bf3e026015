"""What joins the GPUs of a node: NVLink, and the fabric of NVSwitches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.gpus.devices import GPU, Gpus, judge_gpus, numbered
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
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn
from orchestrator.util.quoting import command_line

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,9}")


@dataclass(frozen=True)
class Links:
    """The NVLinks of one GPU; `inactive` has -1 for "all". `errors` are counts above zero, by kind."""

    gpu: int
    active: int
    inactive: tuple[int, ...]
    errors: Mapping[str, int]


@dataclass(frozen=True)
class NvLink:
    """What nvidia-smi tells of the NVLinks of a node: the GPUs that have some, or why nothing."""

    error: str | None
    gpus: tuple[Links, ...]

    @classmethod
    def parse(cls, raw: Any) -> NvLink:
        return cls(
            error=optional(text, raw["error"]),
            gpus=tuple(
                Links(
                    gpu=int(entry["gpu"]),
                    active=int(entry["active"]),
                    inactive=tuple(int(link) for link in entry["inactive"]),
                    errors={str(kind): int(count) for kind, count in entry["errors"].items()},
                )
                for entry in raw["gpus"]
            ),
        )


@dataclass(frozen=True)
class Manager:
    """The fabric manager of a node: where, which version, systemd's state of it, and its package."""

    path: str | None
    version: str | None
    active: str | None
    package: str | None

    @classmethod
    def parse(cls, raw: Any) -> Manager:
        package = raw["package"]
        return cls(
            path=optional(text, raw["manager"]),
            version=optional(text, raw["version"]),
            active=optional(text, raw["active"]),
            package=package if package and _PACKAGE.fullmatch(package) else None,
        )


NVLINK = Probe("fabric.nvlink", NvLink.parse)
FABRIC = Probe("fabric", Manager.parse)


@check("gpu.nvlink", Group.GPU, probes=(GPU, NVLINK))
def check_nvlink(context: Context) -> list[Finding]:
    """Every GPU has as many active NVLinks as the others, without errors.

    `nvidia-smi nvlink --status` and its error counters. A GPU with fewer active links than most of the
    job's GPUs warns (NCCL takes the way over PCIe, many times slower), one with none fails. Replay,
    recovery and CRC errors warn. A reset of the GPUs trains the links again; what stays down is hardware.
    Skipped where no GPU has NVLink.
    """
    found = context.of(NVLINK)
    answers = context.answers_to(NVLINK)
    if len(answers) == len(found) and not any(a.gpus or a.error for a in answers.values()):
        return for_all(context, skip("no GPU with NVLink"))
    gpus = context.of(GPU)
    common = most_common(
        {f"{name} {links.gpu}": links.active for name, a in answers.items() for links in a.gpus}
    )

    def verdict(node: NodeContext) -> Verdict:
        answer, here = found[node.name], gpus[node.name]
        if isinstance(here, Gpus) and not here.served:
            return skip("no NVIDIA GPU")
        if isinstance(answer, NoAnswer):
            return incomplete(answer.reason)
        if answer.error:
            return incomplete(answer.error)
        return _judge_links(answer, common or 0)

    return to_findings((node.name, verdict(node)) for node in context.nodes)


def _judge_links(found: NvLink, common: int) -> Verdict:
    data = {
        str(links.gpu): {
            "active": links.active,
            "inactive": list(links.inactive),
            "errors": dict(links.errors),
        }
        for links in found.gpus
    }
    if not found.gpus:
        if common:
            return warn("no NVLink, though the GPUs of other nodes have it", data=data)
        return skip("no GPU with NVLink")
    down = [links for links in found.gpus if links.active < common]
    if down:
        dead = [links for links in down if not links.active]
        few = sorted({links.active for links in down})
        return Verdict(
            Status.FAIL if dead else Status.WARN,
            f"{numbered(links.gpu for links in dead)}: no NVLink is active, where others have {common}"
            if dead
            else f"{numbered(links.gpu for links in down)}: {', '.join(map(str, few))} NVLinks are active, "
            f"where others have {common}",
            "reset all GPUs of the node when nothing uses them (with NVSwitches restart the fabric manager "
            "first); a link that stays down is a matter of hardware",
            ("nvidia-smi --gpu-reset",),
            data,
        )
    noisy = [links for links in found.gpus if links.errors]
    if noisy:
        kinds = sorted({kind for links in noisy for kind in links.errors})
        return warn(
            f"{numbered(links.gpu for links in noisy)}: NVLink errors ({', '.join(kinds)})",
            "see whether they grow while a job runs (nvidia-smi nvlink -e): a link that repeats itself is "
            "slow, and one that recovers often fails in the end",
            data=data,
        )
    return passed(f"{common} NVLinks a GPU are active", data=data)


@check("gpu.fabric", Group.GPU, probes=(GPU, FABRIC))
def check_fabric(context: Context) -> list[Finding]:
    """The fabric manager of NVSwitch systems runs, in the driver's version.

    On machines with NVSwitches (HGX, DGX): the state of the `nvidia-fabricmanager` service, its version
    beside the driver's, and each GPU's fabric state in `nvidia-smi -q`. Another version, a service that
    does not run, a state other than *Completed* or a status other than *Success* fail: CUDA then ends with
    *Error 802: system not yet initialized*, and only on that node. Unhealthy links warn. Where GPUs tell no
    state (before Hopper) and the service cannot be seen, as in a container, it is incomplete. Skipped
    without NVSwitches.
    """
    managers = context.of(FABRIC)

    def verdict(node: NodeContext, found: Gpus) -> Verdict:
        states = [gpu for gpu in found.gpus if gpu.fabric_state is not None]
        if not found.switches and not states:
            return skip("no NVSwitch")
        manager = managers[node.name]
        if isinstance(manager, NoAnswer):
            return incomplete(manager.reason)
        return _judge_fabric(found, manager)

    findings = judge_gpus(context, verdict, "a fabric")
    if all(f.status is Status.SKIP for f in findings):
        return for_all(context, skip("no NVSwitch on any node"))
    return findings


def _judge_fabric(found: Gpus, manager: Manager) -> Verdict:
    data = _states(found, manager)
    if found.version and manager.version and found.version != manager.version:
        return fail(
            f"fabric manager {manager.version} beside driver {found.version}: it does not work with "
            "another version, and CUDA ends with Error 802",
            "install the fabric manager of exactly the driver's version, and start it",
            _install(manager, found.version),
            data,
        )
    waiting = [gpu for gpu in found.gpus if gpu.fabric_state not in (None, "Completed")]
    refused = [
        gpu
        for gpu in found.gpus
        if gpu.fabric_state == "Completed" and gpu.fabric_status not in (None, "Success")
    ]
    if waiting or refused:
        gpus = waiting or refused
        word = gpus[0].fabric_state if waiting else gpus[0].fabric_status
        return fail(
            f"{numbered(gpus)}: not registered with the NVLink fabric ({word}): CUDA ends with Error 802, "
            "system not yet initialized",
            "start the fabric manager, and wait until nvidia-smi -q shows the fabric state Completed; "
            "journalctl -u nvidia-fabricmanager tells what keeps it",
            ("systemctl enable nvidia-fabricmanager", "systemctl restart nvidia-fabricmanager"),
            data,
        )
    sick = [gpu for gpu in found.gpus if gpu.fabric_health not in (None, "Healthy")]
    if sick:
        return warn(
            f"{numbered(sick)}: the NVLink fabric is {(sick[0].fabric_health or '').lower()}",
            "see nvidia-smi -q under Fabric, Health; reset the GPUs, or have the node looked at",
            data=data,
        )
    registered = all(gpu.fabric_state == "Completed" for gpu in found.gpus)
    if found.switches and manager.active in ("inactive", "failed", "activating", "deactivating"):
        return Verdict(
            Status.WARN if registered else Status.FAIL,
            f"the fabric manager is {manager.active}, and there are NVSwitches: "
            + ("they work until the next reset" if registered else "CUDA ends with Error 802"),
            "start the fabric manager; journalctl -u nvidia-fabricmanager tells why it ended"
            if manager.path
            else "install the fabric manager of exactly the driver's version, and start it",
            ("systemctl enable --now nvidia-fabricmanager",) if manager.path else (),
            data,
        )
    if registered or manager.active == "active":
        return passed("the GPUs are registered with the NVLink fabric", data=data)
    return Verdict(
        Status.INCOMPLETE,
        "there are NVSwitches, but the fabric manager cannot be seen from here (a container?)",
        data=data,
    )


def _states(found: Gpus, manager: Manager) -> dict[str, Any]:
    return {
        "switches": found.switches,
        "driver": found.version,
        "manager": manager.version,
        "active": manager.active,
        "states": [[g.fabric_state, g.fabric_status, g.fabric_health] for g in found.gpus],
    }


def _install(manager: Manager, driver: str) -> tuple[str, ...]:
    """Return the lines that install the fabric manager of `driver` in place of this one."""
    if manager.package is None or not _VERSION.fullmatch(driver):
        return ()
    package = re.sub(r"\d+$", driver.partition(".")[0], manager.package)
    return (
        command_line(["apt-get", "install", "-y", f"{package}={driver}*"]),
        "systemctl restart nvidia-fabricmanager",
    )


CHECKS = (
    check_nvlink,
    check_fabric,
)
