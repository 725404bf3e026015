"""How busy the GPUs of this node are now, from nvidia-smi or, for AMD's, from sysfs; without torch."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from .probes import command, read
from .tasks import deadline

_QUERY = "index,uuid,utilization.gpu,memory.used,memory.total"
_MIB = 1 << 20
_MAX_GPUS = 64
_NVIDIA = re.compile(r"nvidia\d{1,4}\Z")
_CARD = re.compile(r"card\d{1,4}\Z")


def gpus(limit: float, visible: Optional[str] = None, root: str = "/") -> Dict[str, Any]:
    """Return {"gpus": see `sample`, "answered": False if nvidia-smi hangs}.

    `visible` is the job's CUDA_VISIBLE_DEVICES, null if that is the login's own.
    """
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = sample(deadline(limit), root)
    return {"gpus": chosen(found or [], visible), "answered": found is not None}


def sample(until: float, root: str = "/") -> Optional[List[Dict[str, Any]]]:
    """Return {"index", "uuid", "busy" (percent), "used", "total" (bytes)} of each GPU; null is unknown.

    None if nvidia-smi does not answer by `until` (monotonic clock).
    """
    if not any(_NVIDIA.match(name) for name in read.names(root, "/dev")):
        return _amd(root)
    options = ["--query-gpu=" + _QUERY, "--format=csv,noheader,nounits"]
    done = command.run_found("nvidia-smi", *options, seconds=command.left(until))
    if done is None:
        return []
    return None if done.code is None else parse(done.out)


def parse(text: str) -> List[Dict[str, Any]]:
    """Return the GPUs in the output of `nvidia-smi --query-gpu`; lines of another shape are ignored."""
    rows = [[value.strip() for value in line.split(",")] for line in text.splitlines()]
    return [
        _gpu(int(row[0][:4]), row[1], _number(row[2]), _bytes(row[3]), _bytes(row[4]))
        for row in rows
        if len(row) == 5 and row[0].isdigit()
    ][:_MAX_GPUS]


def _gpu(
    index: int, uuid: str, busy: Optional[int], used: Optional[int], total: Optional[int]
) -> Dict[str, Any]:
    return {"index": index, "uuid": uuid[:100], "busy": busy, "used": used, "total": total}


def chosen(found: List[Dict[str, Any]], visible: Optional[str]) -> List[Dict[str, Any]]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES shows, in its order; all of them if it is null.

    Like CUDA, this stops at the first entry that does not exist. MIG instances are not distinguished.
    """
    if visible is None or "MIG-" in visible:
        return found
    shown = []
    for entry in visible.split(","):
        name = entry.strip()
        match = [
            gpu
            for gpu in found
            if name == str(gpu["index"]) or (name[:4] == "GPU-" and gpu["uuid"].startswith(name))
        ]
        if not match:
            break
        shown.append(match[0])
    return shown


def _amd(root: str) -> List[Dict[str, Any]]:
    """Return those of AMD's driver; a card that only draws has no memory size."""
    found: List[Dict[str, Any]] = []
    cards = [name for name in read.names(root, "/sys/class/drm") if _CARD.match(name)]
    for card in sorted(cards, key=lambda name: int(name[4:]))[:_MAX_GPUS]:
        folder = "/sys/class/drm/{}/device/".format(card)
        names = ("gpu_busy_percent", "mem_info_vram_used", "mem_info_vram_total")
        busy, used, total = (_number(read.text(root, folder + name)) for name in names)
        if total is not None:
            uuid = read.text(root, folder + "unique_id") or ""
            found.append(_gpu(len(found), uuid, busy, used, total))
    return found


def _number(text: Optional[str]) -> Optional[int]:
    """Return a whole number; None for `[N/A]`, `[Not Supported]`, `[Unknown Error]` and the like."""
    return int(text) if text is not None and re.match(r"[0-9]{1,18}\Z", text) else None


def _bytes(mebibytes: str) -> Optional[int]:
    number = _number(mebibytes)
    return None if number is None else number * _MIB
