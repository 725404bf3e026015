"""Who this host is: what no other node of the job should have too."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from . import read

_GPUS = "/proc/driver/nvidia/gpus"
_UUID = re.compile(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]{36})\s*$", re.MULTILINE)


def identity(interface: Optional[str] = None, root: str = "/") -> Dict[str, Any]:
    """Return {"machine", "boot", "mac", "gpus"}: ids as texts, null where there is none to read.

    `machine` is /etc/machine-id, which stays when an image is cloned; `boot` is the running kernel's;
    `mac` that of `interface`; `gpus` the UUIDs of NVIDIA's GPUs as the driver's /proc files have them.
    """
    mac = interface and read.text(root, "/sys/class/net/{}/address".format(interface))
    return {
        "machine": read.text(root, "/etc/machine-id") or None,
        "boot": read.text(root, "/proc/sys/kernel/random/boot_id"),
        "mac": mac or None,
        "gpus": _gpus(root),
    }


def _gpus(root: str) -> List[str]:
    found = []
    for name in read.names(root, _GPUS):
        information = read.text(root, os.path.join(_GPUS, name, "information"))
        match = _UUID.search(information or "")  # a driver at rest shows question marks instead
        if match:
            found.append(match.group(1))
    return found
