"""The GPUs of this node: on the PCI bus, as the driver serves them, and as nvidia-smi reports them."""

from __future__ import annotations

import io
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple
from xml.etree import ElementTree

from . import command, read

_NVIDIA = "0x10de"
_DISPLAY = ("0x0300", "0x0302")  # PCI classes: VGA and 3D controllers; GPUs without a screen are 3D
_BRIDGE = "0x0680"  # an NVSwitch, when it is NVIDIA's
_DEVICE = re.compile(r"nvidia(\d{1,4})\Z")
_SMI_TIMEOUT = 15.0  # with persistence mode off, nvidia-smi first wakes up each GPU
_MAX_GPUS = 64
_MAX_PROCESSES = 32  # of one GPU
# What nvidia-smi prints in place of values if a GPU does not work any more.
_SICK = ("GPU requires reset", "GPU is lost")


def gpu(root: str = "/") -> Dict[str, Any]:
    """Return the GPUs that the node has.

    {"devices": minor numbers of the /dev/nvidiaN, "pci": [{"address", "driver"}] of NVIDIA's GPUs,
    "switches": count of NVIDIA's NVSwitches on the PCI bus, "version": of the loaded driver or null,
    "open": whether that is the open kernel module, "visible": this login's CUDA_VISIBLE_DEVICES, or null,
    "amd": count of AMD's GPUs, "smi": see `inventory`, or null without any device}.
    """
    devices = [int(m.group(1)) for m in map(_DEVICE.match, read.names(root, "/dev")) if m]
    pci = list(_pci(root, _DISPLAY))
    driver = read.text(root, "/proc/driver/nvidia/version") or ""
    return {
        "devices": sorted(devices),
        "pci": pci,
        "switches": len(list(_pci(root, (_BRIDGE,)))),
        "version": read.text(root, "/sys/module/nvidia/version"),
        "open": "Open Kernel Module" in driver,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "amd": _amd(root),
        "smi": inventory() if devices or pci else None,
    }


def _pci(root: str, classes: Tuple[str, ...]) -> Iterator[Dict[str, Any]]:
    """Yield {"address", "driver"} of NVIDIA's devices on the PCI bus that are of these classes."""
    for address, folder in read.pci(root, _NVIDIA).items():
        if (read.text(root, folder + "/class") or "")[:6] in classes:
            yield {"address": address, "driver": read.driver(root, folder)}


def _amd(root: str) -> int:
    """Return how many GPUs AMD's compute driver serves: its nodes that have SIMD units."""
    nodes = "/sys/class/kfd/kfd/topology/nodes"
    folders = ("{}/{}".format(nodes, node) for node in read.names(root, nodes))
    counts = (read.counts(root, folder + "/properties") for folder in folders)
    return sum(count.get("simd_count", 0) > 0 for count in counts)


def inventory() -> Dict[str, Any]:
    """Return {"error": why nvidia-smi shows nothing or not all, or null, "hung": bool, "gpus": [...]}.

    Without nvidia-smi it has "missing": true, too.
    """
    done = command.run_found("nvidia-smi", "-q", "-x", seconds=_SMI_TIMEOUT)
    if done is None:
        return {"error": "there is no nvidia-smi", "hung": False, "gpus": [], "missing": True}
    if done.code is None:
        return {"error": "no answer within {:g} s".format(_SMI_TIMEOUT), "hung": True, "gpus": []}
    error = None
    if done.code or "<nvidia_smi_log" not in done.out:
        message = done.out.partition("<?xml")[0].strip()  # some messages are on stdout
        error = (message or done.why).split("\n")[0][:200]
    return {"error": error, "hung": False, "gpus": parse(done.out)}


def parse(text: str) -> List[Dict[str, Any]]:
    """Return the GPUs in the output of `nvidia-smi -q -x`, as far as it can be read.

    Each is {"bus", "minor", "name", "uuid", "memory", "used" (MiB), "mig", "volatile", "aggregate"
    (uncorrectable ECC errors), "flags" (see `_flags`), "fabric": {"state", "status", "health"},
    "sick": text or null, "processes": [{"pid", "name", "used", "owner", "run" (of orch's)}]}; what a
    driver or a GPU does not have is null. Tags have changed over the years: an ECC count is the sum of all
    that is uncorrectable.
    """
    start = text.find("<nvidia_smi_log")
    if start < 0 or "<!ENTITY" in text:
        return []
    found: List[Dict[str, Any]] = []
    try:
        for _, element in ElementTree.iterparse(io.StringIO(text[start:])):
            if element.tag == "gpu" and len(found) < _MAX_GPUS:
                found.append(_gpu(element))
    except ElementTree.ParseError:
        pass  # it broke off: what came before is used
    return found


def _gpu(element: ElementTree.Element) -> Dict[str, Any]:
    sick = [entry.text for entry in element.iter() if any(s in (entry.text or "") for s in _SICK)]
    return {
        "bus": element.get("id", ""),
        "minor": _number(element, "minor_number"),
        "name": _value(element, "product_name"),
        "uuid": _value(element, "uuid"),
        "memory": _number(element, "fb_memory_usage/total"),
        "used": _number(element, "fb_memory_usage/used"),
        "mig": _value(element, "mig_mode/current_mig") == "Enabled",
        "volatile": _uncorrectable(element.find("ecc_errors/volatile")),
        "aggregate": _uncorrectable(element.find("ecc_errors/aggregate")),
        "flags": _flags(element),
        "fabric": {
            "state": _value(element, "fabric/state"),
            "status": _value(element, "fabric/status"),
            "health": _value(element, "fabric/health/summary"),
        },
        "sick": (sick[0] or "").strip()[:100] if sick else None,
        "processes": [
            _process(entry)
            for entry in element.iter("process_info")
            if _value(entry, "type") != "G"  # a desktop
        ][:_MAX_PROCESSES],
    }


def _flags(element: ElementTree.Element) -> Dict[str, Optional[str]]:
    """Return the flags of a pending reset or repair: "Yes", "No", a recovery action, or null."""
    paths = {
        "remap pending": "remapped_rows/remapped_row_pending",
        "remap failure": "remapped_rows/remapped_row_failure",
        "retirement pending": "retired_pages/pending_retirement",
        "channel repair pending": "ecc_errors/channel_repair_pending",
        "tpc repair pending": "ecc_errors/tpc_repair_pending",
        "unrepairable memory": "ecc_errors/unrepairable_memory",
        "sram threshold": "ecc_errors/aggregate/sram_threshold_exceeded",
        "reset required": "gpu_reset_status/reset_required",
        "recovery": "gpu_recovery_action",
    }
    flags = {name: _value(element, path) for name, path in paths.items()}
    if flags["retirement pending"] is None:  # before 2020 pages were blacklisted
        flags["retirement pending"] = _value(element, "retired_pages/pending_blacklist")
    return flags


def _uncorrectable(element: Optional[ElementTree.Element]) -> Optional[int]:
    if element is None:
        return None
    total = _number(element, "double_bit/total")  # up to Volta
    if total is not None:
        return total
    counts = [_digits(entry.text) for entry in element if "uncorrectable" in entry.tag]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _process(element: ElementTree.Element) -> Dict[str, Any]:
    pid = _number(element, "pid")
    return {
        "pid": pid,
        "name": (_value(element, "process_name") or "")[:200],
        "used": _number(element, "used_memory"),
        "owner": None if pid is None else read.owner("/", pid),  # or it is in another container
        "run": None if pid is None else read.run("/", pid),
    }


def _value(element: ElementTree.Element, path: str) -> Optional[str]:
    text = (element.findtext(path) or "").strip()[:100]
    return None if text in ("", "N/A", "[N/A]", "Not Supported") or "deprecated" in text else text


def _number(element: ElementTree.Element, path: str) -> Optional[int]:
    return _digits(element.findtext(path))


def _digits(text: Optional[str]) -> Optional[int]:
    match = re.match(r"([0-9]{1,18})( MiB)?\Z", (text or "").strip())
    return int(match.group(1)) if match else None
