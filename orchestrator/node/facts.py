"""The facts about this node that a plan needs, collected quickly and without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from typing import Any, Dict, List, Optional

from . import network

# What orch sets for a job unless the node's own login environment does.
_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "OMP_NUM_THREADS")


def facts() -> Dict[str, Any]:
    """Return the facts as one JSON object, which `plan/facts.py` reads."""
    return {
        "hostname": socket.gethostname(),
        "identity": identity(),
        "uid": os.getuid(),
        "home": os.path.expanduser("~"),
        "python": sys.executable,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": len(visible_gpus()),
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
    """Return the GPUs that a process here would see, as CUDA_VISIBLE_DEVICES names them.

    NVIDIA's device files are counted, else AMD's; CUDA_VISIBLE_DEVICES (HIP_VISIBLE_DEVICES) in the
    environment selects among them, as it does for torch. A container shows only the device files that it
    was given, so this is right there too.
    """
    environment = dict(os.environ) if environment is None else environment
    for pattern, folder, variable in (
        (r"nvidia\d+\Z", devices, "CUDA_VISIBLE_DEVICES"),
        (r"renderD\d+\Z", os.path.join(devices, "dri"), "HIP_VISIBLE_DEVICES"),
    ):
        if variable.startswith("HIP") and not os.path.exists(os.path.join(devices, "kfd")):
            continue  # without AMD's compute driver, render nodes only draw
        try:
            count = sum(1 for name in os.listdir(folder) if re.match(pattern, name))
        except FileNotFoundError:
            continue
        if count:
            named = environment.get(variable, ",".join(map(str, range(count))))
            return [entry.strip() for entry in named.split(",") if entry.strip()][:count]
    return []
