"""Which GPUs a process sees: what CUDA_VISIBLE_DEVICES and the like leave, as torch reads them.

For NVIDIA's GPUs that is CUDA_VISIBLE_DEVICES. For AMD's it is HIP_VISIBLE_DEVICES, or without it
CUDA_VISIBLE_DEVICES; both count among those that ROCR_VISIBLE_DEVICES leaves (torch 2.13:
`torch.cuda._parse_visible_devices`).
"""

from __future__ import annotations

import re
from typing import List, Mapping, Optional, Sequence

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
_INDEX = re.compile(r"[0-9]{1,9}\Z")


class VisibleGpus:
    """The GPUs that a process in `environment` sees on a node with `total` GPUs.

    `names` are their indices on the node, or UUIDs. `variable` is what leaves them, and `among` the names
    that its numbers count.
    """

    def __init__(self, environment: Mapping[str, str], total: int, amd: bool) -> None:
        self.among = [str(index) for index in range(total)]
        self.variable = CUDA
        if amd:
            self.variable = next((v for v in (HIP, CUDA, ROCR) if v in environment), HIP)
            self.among = entries(environment.get(ROCR), self.among)
        value = None if self.variable == ROCR else environment.get(self.variable)
        self.names = entries(value, self.among)


def entries(value: Optional[str], among: Sequence[str]) -> List[str]:
    """Return which of the GPUs `among` the value of a variable shows, in its order.

    An entry is a position in `among`, or a UUID, which is not checked. The first that is neither ends the
    list, and one that is there twice hides all.
    """
    if value is None:
        return list(among)
    found: List[str] = []
    for entry in (each.strip() for each in value.split(",")):
        if _INDEX.match(entry):
            if int(entry) >= len(among):
                break
            name = among[int(entry)]
        elif entry.startswith(("GPU-", "MIG-")):
            name = entry
        else:
            break
        if name in found:
            return []
        found.append(name)
    return found[: len(among)]
