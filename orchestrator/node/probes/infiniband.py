"""RDMA devices as the kernel shows them: InfiniBand, RoCE and EFA ports, their counters and addresses."""

from __future__ import annotations

import glob
import os
import re
import resource
from typing import Any, Dict, List

from . import limits, read

_CLASS = "/sys/class/infiniband"
_MAX_DEVICES, _MAX_GIDS, _MAX_LIBRARIES = 64, 256, 8
_COUNTERS = (
    "symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors",
    "local_link_integrity_errors", "excessive_buffer_overrun_errors",
)  # fmt: skip
_UNSET = re.compile(r"(0000:){7}0000\Z|fe80:(0000:){6}0000\Z")
_IPC_LOCK = 14  # the capability that lifts RLIMIT_MEMLOCK (capabilities(7))
_AMAZON = "0x1d0f"
_LIBFABRIC = (
    "/opt/amazon/efa/lib*/libfabric.so*", "/opt/amazon/efa/lib*/*/libfabric.so*",
    "/usr/lib*/libfabric.so*", "/usr/lib/*/libfabric.so*", "/usr/local/lib*/libfabric.so*",
)  # fmt: skip
_PLUGIN = (
    "/opt/amazon/ofi-nccl/lib*/libnccl-net*.so", "/opt/amazon/ofi-nccl/lib*/*/libnccl-net*.so",
    "/opt/amazon/aws-ofi-nccl/lib*/libnccl-net*.so", "/opt/aws-ofi-nccl/lib*/libnccl-net*.so",
    "/usr/lib*/libnccl-net*.so", "/usr/lib/*/libnccl-net*.so", "/usr/local/lib*/libnccl-net*.so",
)  # fmt: skip


def infiniband(root: str = "/") -> Dict[str, Any]:
    """Return {"devices": [...], "verbs": count of /dev/infiniband/uverbsN, "environment", "gdr"}.

    A device is {"name", "driver", "interfaces", "ports"}; a port has "port", "state" and "phys" (as the
    kernel writes them: "4: ACTIVE"), "rate", "layer", "counters" and, on Ethernet, "gids": [{"index",
    "gid", "type", "interface"}]. What cannot be read is null. `environment` has the variables of NCCL and
    libfabric for them that this login sets; `gdr` is what lets a device reach GPU memory: {"peermem": bool,
    "kernel": release}.
    """
    names = read.names(root, _CLASS)[:_MAX_DEVICES]
    verbs = [name for name in read.names(root, "/dev/infiniband") if name.startswith("uverbs")]
    modules = ("nvidia_peermem", "nv_peer_mem")
    return {
        "devices": [_device(root, name) for name in names],
        "verbs": len(verbs),
        "environment": {
            name: value[:200]
            for name, value in os.environ.items()
            if name.startswith(("NCCL_IB_", "NCCL_NET", "FI_"))
        },
        "gdr": {
            "peermem": any(os.path.isdir(read.below(root, "/sys/module/" + m)) for m in modules),
            "kernel": os.uname().release,
        },
    }


def _device(root: str, name: str) -> Dict[str, Any]:
    folder = "{}/{}".format(_CLASS, name)
    ports = [port for port in read.names(root, folder + "/ports") if port.isdigit()]
    return {
        "name": name,
        "driver": read.driver(root, folder + "/device"),
        "interfaces": read.names(root, folder + "/device/net"),
        "ports": [_port(root, "{}/ports/{}".format(folder, port), int(port)) for port in ports],
    }


def _port(root: str, folder: str, number: int) -> Dict[str, Any]:
    layer = read.text(root, folder + "/link_layer")
    counters = {
        name: int(text)
        for name in _COUNTERS
        for text in [read.text(root, "{}/counters/{}".format(folder, name))]
        if text is not None and text.isdigit() and len(text) <= 20
    }
    return {
        "port": number,
        "state": read.text(root, folder + "/state"),
        "phys": read.text(root, folder + "/phys_state"),
        "rate": read.text(root, folder + "/rate"),
        "layer": layer,
        "counters": counters,
        "gids": _gids(root, folder) if layer == "Ethernet" else [],
    }


def _gids(root: str, folder: str) -> List[Dict[str, Any]]:
    """Return the entries of the port's GID table that are in use."""
    names = [name for name in read.names(root, folder + "/gids") if name.isdigit()]
    gids = {name: read.text(root, folder + "/gids/" + name) for name in sorted(names, key=int)}
    return [
        {
            "index": int(name),
            "gid": gid,
            "type": read.text(root, folder + "/gid_attrs/types/" + name),
            "interface": read.text(root, folder + "/gid_attrs/ndevs/" + name),
        }
        for name, gid in gids.items()
        if gid and not _UNSET.match(gid)
    ][:_MAX_GIDS]


def memlock(root: str = "/") -> Dict[str, Any]:
    """Return {"soft", "exempt"}: how many bytes a process of this login may lock, null for no limit.

    `exempt` is whether the limit does not apply to it (CAP_IPC_LOCK, which root has).
    """
    status = read.text(root, "/proc/self/status") or ""
    effective = re.search(r"^CapEff:[ \t]*([0-9a-f]{1,32})$", status, re.M)
    return {
        "soft": limits.limit(resource.RLIMIT_MEMLOCK)[0],
        "exempt": bool(effective and int(effective.group(1), 16) >> _IPC_LOCK & 1),
    }


def efa(folders: str = "", root: str = "/") -> Dict[str, Any]:
    """Return {"pci": count, "libfabric": [...], "plugin": [...]}: Amazon's adapters and their software.

    `pci` counts the adapters on the PCI bus, with or without a driver. The libraries are searched where
    Amazon's installer and distributions put them, in `folders`, an LD_LIBRARY_PATH, and in the login's own.
    """
    devices = [folder + "/device" for folder in read.pci(root, _AMAZON).values()]
    count = sum((read.text(root, device) or "").startswith("0xefa") for device in devices)
    if not count:
        return {"pci": 0, "libfabric": [], "plugin": []}
    searched = "{}:{}".format(folders, os.environ.get("LD_LIBRARY_PATH", "")).split(":")
    own = [glob.escape(folder) for folder in searched if folder[:1] == "/"]
    return {
        "pci": count,
        "libfabric": _files(root, [*_LIBFABRIC, *(folder + "/libfabric.so*" for folder in own)]),
        "plugin": _files(root, [*_PLUGIN, *(folder + "/libnccl-net*.so" for folder in own)]),
    }


def _files(root: str, patterns: List[str]) -> List[str]:
    found = {path for pattern in patterns for path in glob.glob(read.below(root, pattern))}
    return sorted("/" + os.path.relpath(path, root) for path in found)[:_MAX_LIBRARIES]
