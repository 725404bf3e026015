"""Why a trial failed, from the last output of its ranks and launchers: pure.

Most errors of a broken job are consequences of another process's end. An error with a cause of its own
counts before those, and an exception before the stack after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.preflight.collectives.trial import Share

_RANK = r"^(?:\[rank\d+\]: ?)?"  # before each line of a traceback, once torch knows the rank
_EXCEPTION = re.compile(_RANK + r"[\w.]*(?:Error|Exception)\b")
# An exception that says little: the cause is on an earlier line.
_VAGUE = re.compile(r"RuntimeError|torch\.distributed|NCCL")
_MAX_LINE = 240


@dataclass(frozen=True)
class Cause:
    """The meaning of a line with this `pattern`, and the check that has details.

    It is `secondary` if it only follows the end of another process.
    """

    pattern: re.Pattern[str]
    meaning: str
    check: str | None
    secondary: bool = False


def _cause(pattern: str, meaning: str, check: str | None, *, secondary: bool = False) -> Cause:
    return Cause(re.compile(pattern, re.IGNORECASE), meaning, check, secondary)


# The first match counts, so exact patterns come first.
CAUSES = (
    _cause(r"No module named '?torch\b", "there is no torch for its Python", "sw.versions"),
    _cause(_RANK + r"(ModuleNotFoundError|ImportError):"
           r"|^\S{0,400}python\S{0,40}: (No module|Error while finding)",
           "the launcher cannot start", "sw.launcher"),
    _cause(r"Unable to find address for", "GLOO_SOCKET_IFNAME is none of its interfaces", "nic.pick"),
    _cause(r"no socket interface found", "NCCL_SOCKET_IFNAME is none of its interfaces", "nic.pick"),
    _cause(r"connectFullMesh.*remote=\[(127\.|::1)", "a rank gave the others 127.0.0.1", "host.name"),
    _cause(r"Unable to resolve hostname", "its own name has no address", "host.name"),
    _cause(r"EADDRINUSE|errno: 98|address already in use", "the port is taken", "net.bind"),
    _cause(r"Duplicate GPU detected", "two ranks were given the same GPU", "host.unique"),
    _cause(r"Mismatched NCCL version", "the NCCL versions of the ranks differ", "sw.versions"),
    _cause(r"CUDA out of memory|OutOfMemoryError", "its GPU has no memory left", "gpu.busy"),
    _cause(r"Connection refused", "a connection to another node was refused", "net.tcp"),
    _cause(r"No route to host|Network is unreachable", "another node cannot be reached", "net.tcp"),
    _cause(r"Connection (closed|reset) by|Broken pipe|Failed to recv|RendezvousClosed",
           "another rank ended first", None, secondary=True),
    _cause(r"timed out|TimeoutError|^Timeout \(", "it timed out waiting for another node", "net.tcp"),
    _cause(r"connectFullMesh", "the ranks could not connect to each other", "net.tcp"),
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What failed on one node: its `meaning`, if it is known, and the `line` of output.

    `check` is the id of the check that has details; `secondary` as for a Cause.
    """

    node: str
    meaning: str
    line: str
    check: str | None
    secondary: bool


def failures(shares: Sequence[Share]) -> list[Failure]:
    """Return the failures in node order, without secondary ones unless there are no others."""
    found = [_failure(share) for share in shares if share.failed and share.problem is None]
    return [failure for failure in found if not failure.secondary] or found


def _failure(share: Share) -> Failure:
    lines = _lines(share)
    errors = [line for line in lines if _EXCEPTION.match(line)]
    vague = not errors or _VAGUE.search(errors[-1]) is not None
    for cause in CAUSES:
        for line in (*errors, *(lines if vague else ())):
            if cause.pattern.search(line):
                line = line[:_MAX_LINE]
                return Failure(share.node, cause.meaning, line, cause.check, cause.secondary)
    line = (errors or lines or [""])[-1][:_MAX_LINE]
    return Failure(share.node, describe_end(share), line, None, secondary=False)


def _lines(share: Share) -> list[str]:
    """Return the output of its ranks, stderr first, and of launchers if no rank reports its end."""
    ranks, launchers = (
        [
            line
            for end in (".err", ".out")
            for path in sorted(share.output)
            if path.startswith(kind) and path.endswith(end)
            for line in share.output[path]
        ]
        for kind in ("rank-", "launcher")
    )
    known = ranks and not all(end.succeeded for end in share.ranks.values())
    return ranks if known else [*ranks, *launchers]


def describe_end(share: Share) -> str:
    """Return how the first process that failed ended."""
    for rank, end in sorted(share.ranks.items()):
        if not end.succeeded:
            return f"rank {rank} {end.how}"
    if share.launcher is not None and not share.launcher.succeeded:
        return f"the launcher {share.launcher.how}"
    return "it did not finish"
