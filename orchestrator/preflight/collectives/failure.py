"""Why a trial failed, from what its ranks and launchers said last: pure.

Most of what is said when a job breaks is the echo of another's end. What tells a cause of its own counts
before that, and of what is left the exception before the stack beneath it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.preflight.collectives.trial import Share

_RANK = r"^(?:\[rank\d+\]: ?)?"  # before each line of a traceback, once torch knows the rank
_EXCEPTION = re.compile(_RANK + r"[\w.]*(?:Error|Exception)\b")
# An exception that says little: the cause is a line before it.
_VAGUE = re.compile(r"RuntimeError|torch\.distributed|NCCL")
_LONGEST = 240


@dataclass(frozen=True)
class Cause:
    """What `text` in a rank's words means, and the check that tells more; an `echo` is another's end."""

    text: re.Pattern[str]
    meaning: str
    check: str | None
    echo: bool = False


def _cause(text: str, meaning: str, check: str | None, *, echo: bool = False) -> Cause:
    return Cause(re.compile(text, re.IGNORECASE), meaning, check, echo)


# The first that matches is taken: what is more exact stands first.
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
           "another rank ended first", None, echo=True),
    _cause(r"timed out|TimeoutError|^Timeout \(", "it waited for another node in vain", "net.tcp"),
    _cause(r"connectFullMesh", "the ranks could not connect to each other", "net.tcp"),
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What went wrong on one node: `meaning` where it is known, and the very words.

    `check` is the id of the check that tells more.
    """

    node: str
    meaning: str
    said: str
    check: str | None
    echo: bool


def failures(shares: Sequence[Share]) -> list[Failure]:
    """Return what went wrong, in node order: without the echoes, unless there is nothing else."""
    found = [_failure(share) for share in shares if share.failed and share.trouble is None]
    return [failure for failure in found if not failure.echo] or found


def _failure(share: Share) -> Failure:
    lines = _lines(share)
    errors = [line for line in lines if _EXCEPTION.match(line)]
    vague = not errors or _VAGUE.search(errors[-1]) is not None
    for cause in CAUSES:
        for line in (*errors, *(lines if vague else ())):
            if cause.text.search(line):
                said = line[:_LONGEST]
                return Failure(share.node, cause.meaning, said, cause.check, cause.echo)
    said = (errors or lines or [""])[-1][:_LONGEST]
    return Failure(share.node, describe_end(share), said, None, echo=False)


def _lines(share: Share) -> list[str]:
    """Return what its ranks said, stderr first; what launchers said too, where no rank tells its end."""
    ranks, launchers = (
        [
            line
            for end in (".err", ".out")
            for path in sorted(share.said)
            if path.startswith(kind) and path.endswith(end)
            for line in share.said[path]
        ]
        for kind in ("rank-", "launcher")
    )
    told = ranks and not all(end.succeeded for end in share.ranks.values())
    return ranks if told else [*ranks, *launchers]


def describe_end(share: Share) -> str:
    """Return how the first process that failed ended."""
    for rank, end in sorted(share.ranks.items()):
        if not end.succeeded:
            return f"rank {rank} {end.how}"
    if share.launcher is not None and not share.launcher.succeeded:
        return f"the launcher {share.launcher.how}"
    return "it did not come to its end"
