"""How busy the GPUs of this node are now: one short look, for whoever watches a run.

nvidia-smi tells it of NVIDIA's GPUs, and sysfs of AMD's. torch is never loaded for it.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from .probes import command, read
from .tasks import Tell, deadline

_QUERY = "index,uuid,utilization.gpu,memory.used,memory.total"
_MIB = 1 << 20
_MOST_GPUS = 64
_NVIDIA = re.compile(r"nvidia\d{1,4}\Z")
_CARD = re.compile(r"card\d{1,4}\Z")


def gpus(tell: Tell, limit: float, visible: Optional[str] = None, root: str = "/") -> None:
    """Tell {"gpus": see `sample`, "answered": bool}; not answered is one that hangs.

    `visible` is the job's CUDA_VISIBLE_DEVICES, null where that is the login's own.
    """
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = sample(deadline(limit), root)
    tell({"gpus": chosen(found or [], visible), "answered": found is not None})


def sample(until: float, root: str = "/") -> Optional[List[Dict[str, Any]]]:
    """Return {"index", "uuid", "busy" (percent), "used", "total" (bytes)} of each GPU; null is unknown.

    None where nvidia-smi does not answer by `until` (monotonic clock).
    """
    if not any(_NVIDIA.match(name) for name in read.names(root, "/dev")):
        return _amd(root)
    path = command.find("nvidia-smi")
    if path is None:
        return []
    argv = [path, "--query-gpu=" + _QUERY, "--format=csv,noheader,nounits"]
    done = command.run(argv, command.left(until))
    return None if done.code is None else parse(done.out)


def parse(text: str) -> List[Dict[str, Any]]:
    """Return what the lines of `nvidia-smi --query-gpu` say; a line of another shape is none of a GPU."""
    found: List[Dict[str, Any]] = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == 5 and values[0].isdigit() and len(found) < _MOST_GPUS:
            index, uuid, busy, used, total = values
            found.append(
                {
                    "index": int(index[:4]),
                    "uuid": uuid[:100],
                    "busy": _number(busy),
                    "used": _bytes(used),
                    "total": _bytes(total),
                }
            )
    return found


def chosen(found: List[Dict[str, Any]], visible: Optional[str]) -> List[Dict[str, Any]]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES shows, in its order; all of them where it is null.

    CUDA, too, ends at the first that there is not. A part of a GPU (MIG) is not told apart.
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
    """Return those of AMD's driver; a card that only draws tells no memory of its own."""
    found: List[Dict[str, Any]] = []
    cards = [name for name in read.names(root, "/sys/class/drm") if _CARD.match(name)]
    for card in sorted(cards, key=lambda name: int(name[4:]))[:_MOST_GPUS]:
        folder = "/sys/class/drm/{}/device/".format(card)
        total = _number(read.text(root, folder + "mem_info_vram_total"))
        if total is not None:
            found.append(
                {
                    "index": len(found),
                    "uuid": read.text(root, folder + "unique_id") or "",
                    "busy": _number(read.text(root, folder + "gpu_busy_percent")),
                    "used": _number(read.text(root, folder + "mem_info_vram_used")),
                    "total": total,
                }
            )
    return found


def _number(text: Optional[str]) -> Optional[int]:
    """Return a whole number; None for `[N/A]`, `[Not Supported]`, `[Unknown Error]` and their like."""
    return int(text) if text is not None and re.match(r"[0-9]{1,18}\Z", text) else None


def _bytes(mebibytes: str) -> Optional[int]:
    number = _number(mebibytes)
    return None if number is None else number * _MIB
