"""The kernel's table of neighbours: its limits, its entries, and how often it was full."""

from __future__ import annotations

from typing import Dict, List, Optional

from . import read

_TABLES = {4: ("ipv4", "arp_cache"), 6: ("ipv6", "ndisc_cache")}


def neighbours(version: int = 4, root: str = "/") -> Dict[str, Optional[int]]:
    """Return {"soft", "room", "entries", "fulls"} of the table for IPv4 or IPv6.

    `soft` is gc_thresh2, `room` gc_thresh3; `fulls` counts since the boot. Each is null where the kernel
    does not show it: only the machine's own network namespace has these files.
    """
    family, table = _TABLES[version]
    limits = "/proc/sys/net/{}/neigh/default/gc_thresh".format(family)
    counters = _counters(read.lines(root, "/proc/net/stat/" + table))
    return {
        "soft": _number(read.text(root, limits + "2")),
        "room": _number(read.text(root, limits + "3")),
        "entries": counters.get("entries"),
        "fulls": counters.get("table_fulls"),
    }


def _counters(lines: List[str]) -> Dict[str, int]:
    """Return the counters of a file below /proc/net/stat: names, then a row of hexadecimals for each CPU.

    `entries` is the same in all rows; the others are to be added.
    """
    names = lines[0].split()
    rows = [[int(word, 16) for word in line.split()] for line in lines[1:] if line.strip()]
    found = {name: sum(column) for name, column in zip(names, zip(*rows))}
    if rows and "entries" in found:
        found["entries"] = rows[0][names.index("entries")]
    return found


def _number(text: Optional[str]) -> Optional[int]:
    return int(text) if text and text.isdigit() else None
