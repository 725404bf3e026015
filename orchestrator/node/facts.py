"""The facts about this node that a plan needs, collected quickly and without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from . import network
from .visible import CUDA, HIP, ROCR, VisibleGpus

# What orch sets for a job unless the node's own login environment does, and what selects GPUs.
_VARIABLES = (
    "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "OMP_NUM_THREADS",
    CUDA, HIP, ROCR, "CUDA_DEVICE_ORDER",
)  # fmt: skip


def facts() -> Dict[str, Any]:
    """Return the facts as one JSON object, which `plan/facts.py` reads."""
    all_gpus, amd = count_gpus()
    return {
        "hostname": socket.gethostname(),
        "identity": identity(),
        "uid": os.getuid(),
        "home": os.path.expanduser("~"),
        "python": sys.executable,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": len(visible_gpus()),
        "all_gpus": all_gpus,
        "amd": amd,
        "rsync": shutil.which("rsync"),
        "interfaces": network.interfaces(),
        "ssh_address": network.ssh_address(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "time": time.time(),
    }


def identity() -> str:
    """Return a text that is the same under all names of one machine in one network namespace."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return "{}/{}".format(boot, os.readlink("/proc/self/ns/net"))


def visible_gpus(devices: str = "/dev", environment: Optional[Dict[str, str]] = None) -> List[str]:
    """Return the GPUs that a process here would see, as CUDA_VISIBLE_DEVICES names them."""
    count, amd = count_gpus(devices)
    return VisibleGpus(dict(os.environ) if environment is None else environment, count, amd).names


def count_gpus(devices: str = "/dev") -> Tuple[int, bool]:
    """Return the number of GPUs of this node, by their device files, and whether they are AMD's.

    NVIDIA's are counted, else AMD's. A container shows only the device files that it was given, so this is
    right there too.
    """
    nvidia = _count(devices, r"nvidia\d+\Z")
    if nvidia or not os.path.exists(os.path.join(devices, "kfd")):
        return nvidia, False  # without AMD's compute driver, render nodes only draw
    amd = _count(os.path.join(devices, "dri"), r"renderD\d+\Z")
    return amd, amd > 0


def _count(folder: str, pattern: str) -> int:
    try:
        return sum(1 for name in os.listdir(folder) if re.match(pattern, name))
    except FileNotFoundError:
        return 0
