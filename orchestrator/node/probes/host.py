"""The identity of this host, which no other node of the job should share, and what can set its clock."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from ..visible import entries
from . import command, read

_GPUS = "/proc/driver/nvidia/gpus"
_UUID = re.compile(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]{36})\s*$", re.MULTILINE)

_PROGRAMS = ("chronyc", "apt-get", "dnf")
_SERVICES = ("chrony", "chronyd", "ntp", "ntpd", "ntpsec", "systemd-timesyncd")
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def identity(
    interface: Optional[str] = None, visible: Optional[str] = None, root: str = "/"
) -> Dict[str, Any]:
    """Return {"machine", "boot", "mac", "gpus"}: ids as texts, null if they cannot be read.

    `machine` is /etc/machine-id, which stays when an image is cloned; `boot` is the running kernel's;
    `mac` that of `interface`; `gpus` the UUIDs of NVIDIA's GPUs as the driver's /proc files have them, of
    those that `visible` leaves: the job's CUDA_VISIBLE_DEVICES, null if that is the login's own.
    """
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    mac = interface and read.text(root, "/sys/class/net/{}/address".format(interface))
    return {
        "machine": read.text(root, "/etc/machine-id") or None,
        "boot": read.text(root, "/proc/sys/kernel/random/boot_id"),
        "mac": mac or None,
        "gpus": _gpus(root, visible),
    }


def _gpus(root: str, visible: Optional[str]) -> List[str]:
    texts = [
        read.text(root, os.path.join(_GPUS, n, "information")) for n in read.names(root, _GPUS)
    ]
    matches = [
        _UUID.search(text or "") for text in texts
    ]  # an idle driver shows question marks instead
    uuids = ["" if match is None else match.group(1) for match in matches]
    names = entries(visible, [str(index) for index in range(len(uuids))])
    shown = {name for name in names if not name.isdigit()}
    shown.update(uuids[int(name)] for name in names if name.isdigit())
    return [
        uuid for uuid in uuids if uuid and any(name and uuid.startswith(name) for name in shown)
    ]


def clock(root: str = "/") -> Dict[str, Any]:
    """Return {"systemd", "programs", "services"}: what exists of those that can set the clock.

    `systemd` is whether it runs here: in most containers it does not, and the clock is the host's.
    """
    units = [folder + "/{}.service" for folder in _UNITS]
    return {
        "systemd": os.path.isdir(read.below(root, "/run/systemd/system")),
        "programs": [name for name in _PROGRAMS if command.find(name)],
        "services": [
            name
            for name in _SERVICES
            # A masked one is a link to /dev/null, which is not a file.
            if any(os.path.isfile(read.below(root, unit.format(name))) for unit in units)
        ],
    }
