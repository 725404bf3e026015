"""What NVIDIA's Xids mean and what to do about each: data.

Source: NVIDIA's "Xid Errors" (its catalogue of Xids, with the action it advises for data centers), and the
Fabric Manager guide for SXids of NVSwitches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What an Xid asks for, from least to most."""

    NOTE = "nothing to do"
    APPLICATION = "the application ended or has to start again; the GPU is well"
    WATCH = "watch this GPU"
    LOOK = "look it up in NVIDIA's Xid catalogue"
    RESET = "reset the GPU"
    REBOOT = "reboot the node"

    @property
    def weight(self) -> int:
        return list(Action).index(self)


@dataclass(frozen=True)
class Xid:
    """One code: what it means, and what it asks for."""

    meaning: str
    action: Action


def _all(meaning: str, action: Action, *codes: int) -> dict[int, Xid]:
    return dict.fromkeys(codes, Xid(meaning, action))


XIDS: dict[int, Xid] = {
    8: Xid("GPU stopped processing", Action.APPLICATION),
    13: Xid("graphics engine exception: mostly an illegal access of a kernel", Action.APPLICATION),
    14: Xid("injected from user space", Action.NOTE),
    31: Xid("GPU memory page fault: mostly an illegal access of a kernel", Action.APPLICATION),
    43: Xid("the application hit a fault and must end", Action.APPLICATION),
    44: Xid("engine fault during a context switch", Action.NOTE),
    45: Xid("clean-up of an application that ended or was killed", Action.APPLICATION),
    46: Xid("GPU stopped processing (timeout)", Action.RESET),
    48: Xid("double-bit ECC error", Action.RESET),
    54: Xid("a power cable is missing on the GPU board: check it", Action.LOOK),
    60: Xid("video processor exception", Action.APPLICATION),
    62: Xid("internal micro-controller halt", Action.RESET),
    63: Xid("a row or page of memory is to be remapped", Action.WATCH),
    64: Xid("remapping or retiring memory failed", Action.RESET),
    74: Xid("NVLink error", Action.RESET),
    78: Xid("vGPU does not start: update its software", Action.LOOK),
    79: Xid("GPU has fallen off the bus", Action.REBOOT),
    80: Xid("corrupted data was sent to the GPU", Action.APPLICATION),
    92: Xid("high rate of single-bit ECC errors", Action.WATCH),
    93: Xid("wear limit of the InfoROM", Action.WATCH),
    94: Xid("contained memory error: one application ended by it", Action.WATCH),
    95: Xid("uncontained memory error", Action.RESET),
    109: Xid("context switch timeout", Action.RESET),
    110: Xid("security fault", Action.RESET),
    119: Xid("no answer from the GPU's system processor (GSP)", Action.RESET),
    120: Xid("error of the GPU's system processor (GSP)", Action.RESET),
    121: Xid("corrected error of the link to a Grace CPU", Action.WATCH),
    136: Xid("NVLink training failed", Action.RESET),
    137: Xid("NVLink: illegal access of a peer's memory", Action.APPLICATION),
    140: Xid("unrecovered ECC error", Action.RESET),
    141: Xid("CUDA fast path error", Action.NOTE),
    143: Xid("GPU initialization error", Action.RESET),
    151: Xid("key rotation error: restart the virtual machine", Action.REBOOT),
    155: Xid("NVLink went down", Action.RESET),
    156: Xid("a faulty part of the GPU was retired", Action.RESET),
    157: Xid("retiring a faulty part failed", Action.WATCH),
    158: Xid("GPU fatal timeout", Action.RESET),
    160: Xid("a memory channel was retired", Action.WATCH),
    161: Xid("retiring a memory channel failed", Action.WATCH),
    167: Xid("PCIe fatal timeout", Action.REBOOT),
    168: Xid("errors in protected memory", Action.LOOK),
    171: Xid("uncorrectable error in DRAM (goes with 48)", Action.RESET),
    172: Xid("uncorrectable error in SRAM (goes with 48)", Action.RESET),
    **_all("invalid or corrupted push buffer stream", Action.APPLICATION, 11, 25, 32),
    **_all("driver firmware error", Action.NOTE, 37, 38),
    **_all("copy engine exception", Action.APPLICATION, 39, 40, 41, 70, 71, 72, 75, 76, 77, 85),
    **_all("copy engine exception", Action.APPLICATION, *range(126, 136)),
    **_all("illegal access by the driver", Action.NOTE, 66, 67),
    **_all("engine class error", Action.APPLICATION, 69),
    **_all("video decoder error", Action.APPLICATION, 68, 83, 84, 88, 89, 96, 97, 98),
    **_all("JPEG engine error", Action.APPLICATION, 82, *range(99, 106)),
    **_all("optical flow engine error", Action.APPLICATION, 86, 139),
    **_all("test message", Action.NOTE, 106, 107),
    **_all("NVLink 5 error", Action.RESET, *range(144, 151)),
    **_all("power smoothing", Action.NOTE, *range(162, 166)),
}

_RECOVERY = (
    ("Reboot", Action.REBOOT),
    ("Reset", Action.RESET),
    ("Drain", Action.WATCH),
)


def explain(kind: str, code: int, text: str) -> Xid:
    """Return what an event of the kernel log means; `kind` is Xid or SXid, `text` the rest of its line."""
    if kind == "SXid":
        fatal = text.startswith("Fatal")
        return Xid(
            f"NVSwitch {'' if fatal else 'non-'}fatal error", Action.RESET if fatal else Action.NOTE
        )
    if code == 154:  # it sums up others: "GPU recovery action changed from 0x0 (None) to 0x2 (...)"
        wanted = text.rpartition(" to ")[2]
        action = next((action for word, action in _RECOVERY if word in wanted), Action.NOTE)
        return Xid("the driver says how to recover the GPU", action)
    if 144 <= code <= 150 and "nonfatal" in text.lower().replace("-", ""):
        return Xid("NVLink 5 error, not fatal", Action.WATCH)
    return XIDS.get(code, Xid("not in this table", Action.LOOK))
