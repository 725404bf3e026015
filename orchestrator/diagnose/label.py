"""Remove colours and the prefix of a launcher from a line, and return who printed it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from orchestrator.diagnose.values import encodable, valid_node, valid_rank, valid_time

MAX_TEXT = 4096
"""How many characters of a line are read."""

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,1024}(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_RANK = r"(?P<rank>\d{1,7})"
_NODE = r"(?P<node>[A-Za-z0-9][\w.-]{0,253})"

# Prefixes may follow one another: `node1: [rank3]: text`.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # orch --timestamps
        r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) ",
        rf"r{_RANK} +{_NODE} +│ ?",  # orch
        rf"r\[{_RANK}[\d,…-]*\] ×\d+ +(?:\d+ nodes|{_NODE}) +│ ?",  # orch, folded
        rf"-- +{_NODE} +│ ?",  # orch, a line of a launcher
        rf"\[rank{_RANK}\]: ?",  # torch
        rf"\[rank: {_RANK}\] ?",  # Lightning
        rf"\[\d{{1,7}},{_RANK}\]<std(?:out|err|diag)>: ?",  # mpirun --tag-output
        r"\[[A-Za-z_]{1,32}(?P<local>\d{1,5})(?:\|\d{1,5})?\]: ?",  # torchrun --tee: role and local rank
        rf" {{0,8}}{_RANK}: ",  # srun --label
        r"(?!python)(?P<node>(?=[a-z.-]*\d)[a-z0-9][a-z0-9.-]{0,252}):(?: |$)",  # pdsh, clush
        r"\[pod/(?P<node>[a-z0-9][a-z0-9.-]{0,252})/[\w.-]{1,253}\] ?",  # kubectl logs --prefix
        r"(?P<node>[A-Za-z0-9][\w.-]{0,252}-\d{1,5}) {2,64}\| ?",  # docker compose
        r"(?P<node>[\w.-]{1,253}):\d{1,8}:\d{1,8} \[\d{1,4}\] (?=(?:[\w./]{1,64}:\d+ )?NCCL )",  # NCCL
    )
)


@dataclass(frozen=True)
class Label:
    """Who printed a line, according to its prefixes; `local` is a local rank."""

    rank: int | None = None
    node: str | None = None
    local: int | None = None


_MAX_PREFIXES = 4


class Line(NamedTuple):
    """A line without its prefixes, who printed it, and when (seconds since the epoch)."""

    text: str
    label: Label
    time: float | None


def parse_line(raw: bytes) -> Line:
    """Return the text of a line and who printed it; only its first `MAX_TEXT` bytes are read."""
    text = raw[:MAX_TEXT].decode("utf-8", "replace").rstrip()
    if text.startswith('{"t":') and (line := _from_json(text)) is not None:
        return line
    return _without_prefixes(_CONTROL.sub("", text) if "\x1b" in text else text)


def _without_prefixes(text: str) -> Line:
    rank: int | None = None
    node: str | None = None
    local: int | None = None
    time: float | None = None
    for _ in range(_MAX_PREFIXES):
        found = next(filter(None, (prefix.match(text) for prefix in _PREFIXES)), None)
        if found is None:
            break
        parts = found.groupdict()
        if parts.get("rank"):
            rank = int(parts["rank"])
        if parts.get("local"):
            # Under `srun --label torchrun --tee` the first number is that of a node.
            local, rank = int(parts["local"]), None
        node = parts.get("node") or node
        time = _seconds(parts.get("time")) or time
        text = text[found.end() :]
    return Line(text, Label(rank, node, local), time)


def _from_json(text: str) -> Line | None:
    """Return a line of `orch launch --output json`; its text may have the prefix of another launcher."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return None
    time, rank, node, inner = (held.get(key) for key in ("t", "rank", "node", "text"))
    if not isinstance(inner, str):
        return None
    inner = encodable(inner[:MAX_TEXT])
    line = _without_prefixes(_CONTROL.sub("", inner).rpartition("\r")[2])
    held_rank, held_node = valid_rank(rank), valid_node(node)
    label = Label(
        line.label.rank if held_rank is None else held_rank,
        line.label.node if held_node is None else held_node,
    )
    return Line(line.text, label, valid_time(time))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return valid_time(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):  # a 13th month, a year out of range
        return None
