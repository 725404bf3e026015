"""The interface that a job goes by, as far as it may itself be why nobody answers there."""

from __future__ import annotations

from typing import Any, Dict, Optional

from . import read

_UP, _NO_ARP = 0x1, 0x80  # IFF_UP and IFF_NOARP of linux/if.h


def link(interface: Optional[str], root: str = "/") -> Optional[Dict[str, Any]]:
    """Return {"up", "carrier", "arp"} of an interface; None where it is unknown, or not there.

    "up" is whether it is switched on, "carrier" whether there is a signal (null where it is off), "arp"
    whether it answers when asked for its address.
    """
    if interface is None:
        return None
    place = "/sys/class/net/{}/".format(interface)
    flags = read.text(root, place + "flags")
    if flags is None:
        return None
    number = int(flags, 16)
    carrier = read.text(root, place + "carrier")
    return {
        "up": bool(number & _UP),
        "carrier": None if carrier not in ("0", "1") else carrier == "1",
        "arp": not number & _NO_ARP,
    }
