"""NVIDIA's errors in the kernel's log: Xids of GPUs, SXids of NVSwitches, GPUs off the bus."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from . import command, read

# Documentation/ABI/testing/dev-kmsg of the kernel
_RECORD = re.compile(rb"\d{1,9},\d{1,20},(\d{1,20}),[^;]*;")
_STAMP = re.compile(r"\[ {0,20}(\d{1,20}\.\d{1,9})\](?:\[ {0,20}[TC]\d{1,20}\])? (.*)\Z")
_PCI = r"(?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.\d)?"
_XID = re.compile(r"NVRM: Xid \(" + _PCI + r"(?: GPU-I:\d+)?\): (\d{1,5})(?:, (.*))?\Z")
_SXID = re.compile(r"SXid \(" + _PCI + r"\): (\d{1,6}), (.*)\Z")
_NAMED = re.compile(r"NVRM: (?:The NVIDIA )?GPU (?:at )?" + _PCI)
_PID = re.compile(r"pid='?(\d{1,10})'?, name=([^,]*)")
_MAX_EVENTS = 64  # different ones
_JOURNAL_LINES = "100000"  # the last ones
_TIMEOUT = 6.0  # seconds


class Line(NamedTuple):
    """A line of the kernel's log; `at` is in seconds since boot."""

    at: float
    text: str


def xids(root: str = "/") -> Dict[str, Any]:
    """Return {"source", "why", "whole", "events"}.

    `source` is where the log was read, null if it could not be, and then there is `why`. `whole` is whether
    it goes back to the boot: the kernel keeps a few hundred kilobytes. Events are {"kind": "Xid" or
    "SXid", "code", "bus", "count", "age" (of the last, in seconds), "text", "pid", "name"}.
    """
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    source, found, why = lines(root)
    return {
        "source": source,
        "why": why,
        "whole": bool(found) and found[0].at < 60,
        "events": events(found, now),
    }


def lines(root: str = "/") -> Tuple[Optional[str], List[Line], Optional[str]]:
    """Return where the log was read and its lines; or None, no lines, and why it could not be read."""
    reasons = []
    for source in (_kmsg, _journal, _dmesg):
        found, why = source(root)
        if found:
            return source.__name__.strip("_"), found, None
        reasons.append(why)
    return None, [], "; ".join(reasons)


def _kmsg(root: str) -> Tuple[List[Line], str]:
    try:
        descriptor = os.open(read.below(root, "/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return [], "/dev/kmsg: {}".format(error.strerror)
    try:
        return parse_kmsg(_records(descriptor)), "/dev/kmsg is empty"
    finally:
        os.close(descriptor)


def _records(descriptor: int) -> Iterator[bytes]:
    """Yield the result of each read: one record of a /dev/kmsg."""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except BrokenPipeError:
            continue  # overwritten during the read: the next is the oldest that is left
        except OSError:
            return  # EAGAIN: that was the last
        if not data:
            return
        yield data


def _journal(root: str) -> Tuple[List[Line], str]:
    options = ["-k", "-b", "-o", "short-monotonic", "--no-pager", "-q", "-n", _JOURNAL_LINES]
    return _shown("journalctl", *options)


def _dmesg(root: str) -> Tuple[List[Line], str]:
    return _shown("dmesg")


def _shown(name: str, *options: str) -> Tuple[List[Line], str]:
    done = command.run_found(name, *options, seconds=_TIMEOUT)
    if done is None:
        return [], "there is no {}".format(name)
    why = "no answer in time" if done.code is None else done.why if done.code else "printed nothing"
    return parse_text(done.out), "{}: {}".format(name, why)


def parse_kmsg(records: Iterable[bytes]) -> List[Line]:
    """Return the lines of records of /dev/kmsg: "6,16054,8363681062,-;text"."""
    found = []
    for data in records:
        for record in data.split(b"\n"):
            head = _RECORD.match(record)  # lines after the first are fields, " KEY=value"
            if head is None:
                continue
            text = record[head.end() :].decode("utf-8", "replace")
            at = int(head.group(1)[:18]) / 1e6
            found += [Line(at, part) for part in text.split("\\x0a")]
    return found


def parse_text(text: str) -> List[Line]:
    """Return the lines of `dmesg`, or of `journalctl -o short-monotonic`: "[ 1234.567890] text".

    A line without a time has that of the line before.
    """
    found: List[Line] = []
    for line in text.split("\n"):
        match = _STAMP.match(line)
        if match:
            found.append(Line(float(match.group(1)[:24]), match.group(2)))
        elif found and line.strip():
            found.append(Line(found[-1].at, line.strip()))
    return found


def events(log: Iterable[Line], now: float) -> List[Dict[str, Any]]:
    """Return the errors in `log`, latest first; those of one code on one device are one event."""
    found: Dict[Tuple[str, int, str], Dict[str, Any]] = {}
    fallen: List[Tuple[str, float, str]] = []
    latest = ""  # the GPU of a message of several lines
    for at, text in log:
        if "Xid" in text:
            for kind, pattern in (("SXid", _SXID), ("Xid", _XID)):
                match = pattern.search(text)
                if match:
                    key = (kind, int(match.group(2)), match.group(1).lower())
                    _count(found, key, now - at, match.group(3) or "")
                    break
        elif "NVRM" in text:
            named = _NAMED.search(text)
            latest = named.group(1).lower() if named else latest
            if "fallen off the bus" in text and latest:
                fallen.append((latest, at, text))
    # Some drivers report it in other words, without an Xid or besides it.
    for bus, at, text in fallen:
        if ("Xid", 79, bus) not in found:
            _count(found, ("Xid", 79, bus), now - at, text)
    return sorted(found.values(), key=lambda event: event["age"])[:_MAX_EVENTS]


def _count(found: Dict[Any, Dict[str, Any]], key: Any, age: float, text: str) -> None:
    event = found.setdefault(key, {"kind": key[0], "code": key[1], "bus": key[2], "count": 0})
    process = _PID.search(text)
    event.update(
        count=event["count"] + 1,
        age=max(0.0, age),
        text=text.strip()[:200],
        pid=int(process.group(1)[:9]) if process else None,
        name=process.group(2).strip()[:40] if process else None,
    )
