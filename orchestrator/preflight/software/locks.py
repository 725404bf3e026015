"""Locks that a killed build of an extension has left: ranks that need the extension wait forever."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.model import Group, Level, NodeContext, Probe, check
from orchestrator.preflight.software.interpreter import AbsolutePath, job_environment
from orchestrator.preflight.verdict import Verdict, passed, warn
from orchestrator.util.text import first_few


@dataclass(frozen=True)
class Lock:
    """A lock file that no process on the node has open; `age` in seconds."""

    path: AbsolutePath
    age: float


def _arguments(node: NodeContext) -> dict[str, Any]:
    known = job_environment(node)
    return {"environment": known["environment"], "unset": known["unset"]}


LOCKS = Probe("locks", reader(tuple[Lock, ...]), _arguments)


@check("sw.lock", Group.SOFTWARE, Level.QUICK, probes=(LOCKS,))
@each_node
def check_locks(node: NodeContext) -> Verdict:
    """No killed build has left a lock that ranks wait for.

    The files `lock` below `~/.cache/torch_extensions` (or `TORCH_EXTENSIONS_DIR`) that no process of this
    user has open. `torch.utils.cpp_extension` creates one while it compiles an extension (DeepSpeed does
    so in its first run). If that was killed, every process that needs the extension waits for the lock
    forever. Warns, with the command that removes it. If nodes share the folder, another one may hold it.
    """
    found = node.answer(LOCKS)
    if not found:
        return passed("no build of an extension has left a lock")
    paths = [lock.path for lock in found]
    return warn(
        f"{first_few(paths)}: left by a killed build of an extension; ranks that need the extension wait "
        "for it forever",
        "remove it, unless a node that shares this folder is building the extension now",
        (f"rm {' '.join(map(shlex.quote, paths))}",),
        {"locks": {lock.path: round(lock.age) for lock in found}},
        as_root=False,
    )
