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
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_RANK = r"(?P<rank>\d{1,7})"
_NODE = r"(?P<node>[A-Za-z0-9][\w.-]{0,253})"

_UNIT = rf"(?:{_NODE} [\w@./-]{{1,64}}\[\d{{1,10}}\]:(?: |$))?"  # of journald, after a time
_SPACE = "(?: |$)"
_LEVEL = "(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)"

# Prefixes may follow one another: `node1: [rank3]: text`. They are tried by the first character of a line.
_IN_BRACKETS = (
    rf"\[rank{_RANK}\]: ?",  # torch
    rf"\[rank: {_RANK}\] ?",  # Lightning
    rf"\[rank={_RANK}\] ",  # Determined
    rf"\[[^\]]{{19,32}}\] [0-9a-f]{{8}} (?:\[rank={_RANK}\] )?\|\|{_SPACE}(?:{_LEVEL}: )?",  # its log
    rf"\[\d{{1,7}},{_RANK}\]<std(?:out|err|diag)>: ?",  # mpirun --tag-output
    rf"\[\d{{1,7}},mpirank:{_RANK},(?P<node>[\w-]{{1,64}})\]<std(?:out|err)>: ?",  # SageMaker
    r"\[[A-Za-z_]{1,32}(?P<local>\d{1,5})(?:\|\d{1,5})?\]: ?",  # torchrun --tee: role and local rank
    r"\[pod/(?P<node>[a-z0-9][a-z0-9.-]{0,252})/[\w.-]{1,253}\] ?",  # kubectl logs --prefix
)
_IN_PARENTHESES = (
    r"\(\w{0,64} ?pid=\d{1,10}(?:, ip=(?P<node>[\w.:-]{1,64}))?\) ?",  # Ray
    r"\((?:raylet|autoscaler|gcs_server|driver)(?:, ip=(?P<node>[\w.:-]{1,64}))?\) ",
)
_OTHERS = (
    # orch, docker and kubectl with --timestamps, journalctl -o short-iso
    rf"(?P<time>\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{{1,9}})?(?:Z|[+-]\d\d:?\d\d)){_SPACE}{_UNIT}",
    rf"std(?:out|err) [FP]{_SPACE}",  # CRI, after its time
    rf"{_MONTH} [ \d]\d \d\d:\d\d:\d\d {_UNIT}",  # journald, syslog, ts
    rf"r{_RANK} +{_NODE} +│ ?",  # orch
    rf"r\[{_RANK}[\d,…-]*\] ×\d+ +(?:\d+ nodes|{_NODE}) +│ ?",  # orch, folded
    rf"-- +{_NODE} +│ ?",  # orch, a line of a launcher
    rf" {{0,8}}{_RANK}: ",  # srun --label
    r"(?!python|mlx\d)(?P<node>(?=[a-z.-]*\d)[a-z0-9][a-z0-9.-]{0,252}):(?: |$)",  # pdsh, clush
    r"(?P<node>[A-Za-z0-9][\w.-]{0,252}-\d{1,5}) {2,64}\| ?",  # docker compose
    r"(?P<node>[\w.-]{1,253}):\d{1,8}:\d{1,8} \[\d{1,4}\] (?=(?:[\w./]{1,64}:\d+ )?NCCL )",  # NCCL
)
_PREFIXES = {
    start: tuple(map(re.compile, patterns))
    for start, patterns in (("[", _IN_BRACKETS), ("(", _IN_PARENTHESES), ("", _OTHERS))
}


@dataclass(frozen=True)
class Label:
    """Who printed a line, according to its prefixes; `local` is a local rank."""

    rank: int | None = None
    node: str | None = None
    local: int | None = None


_MAX_PREFIXES = 5
# Of orch, of docker's json-file, and of programs.
_TEXT_KEYS = ("text", "log", "message", "msg")


class Line(NamedTuple):
    """A line without its prefixes, who printed it, and when (seconds since the epoch)."""

    text: str
    label: Label
    time: float | None


def parse_line(raw: bytes) -> Line:
    """Return the text of a line and who printed it; only its first `MAX_TEXT` bytes are read."""
    text = raw[:MAX_TEXT].decode("utf-8", "replace").rstrip()
    if text.startswith('{"') and (line := _from_json(text)) is not None:
        return line
    return _without_prefixes(_CONTROL.sub("", text) if "\x1b" in text else text)


def _without_prefixes(text: str) -> Line:
    rank: int | None = None
    node: str | None = None
    local: int | None = None
    time: float | None = None
    for _ in range(_MAX_PREFIXES):
        prefixes = _PREFIXES.get(text[:1]) or _PREFIXES[""]
        found = next(filter(None, (prefix.match(text) for prefix in prefixes)), None)
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
    """Return a line of `orch launch --output json`, or of docker's logs, or of a program that logs JSON.

    Its text may have the prefix of another launcher.
    """
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return None
    inner = next((held[key] for key in _TEXT_KEYS if isinstance(held.get(key), str)), None)
    if inner is None:
        return None
    time, rank, node = held.get("t"), held.get("rank"), held.get("node")
    if time is None and isinstance(stamp := held.get("time") or held.get("timestamp"), str):
        time = _seconds(stamp)
    inner = encodable(inner[:MAX_TEXT].rstrip("\n"))
    line = _without_prefixes(_CONTROL.sub("", inner).rpartition("\r")[2])
    held_rank, held_node = valid_rank(rank), valid_node(node)
    label = Label(
        line.label.rank if held_rank is None else held_rank,
        line.label.node if held_node is None else held_node,
    )
    return Line(line.text, label, valid_time(time))


# Nanoseconds, which datetime does not read.
_FRACTION = re.compile(r"(\.\d{6})\d{1,3}")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return valid_time(datetime.fromisoformat(_FRACTION.sub(r"\1", text)).timestamp())
    except (ValueError, OverflowError):  # a 13th month, a year out of range
        return None
