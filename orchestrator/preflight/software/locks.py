"""Locks that a killed build of an extension has left: whoever needs the extension waits for ever."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import finite
from orchestrator.preflight.judge import judge_each
from orchestrator.preflight.model import Context, Finding, Group, Level, NodeContext, Probe, check
from orchestrator.preflight.software.interpreter import absolute_path, job_environment
from orchestrator.preflight.verdict import Verdict, passed, warn
from orchestrator.util.text import first_few


@dataclass(frozen=True)
class Lock:
    """A lock file that no process on the node has open; `age` in seconds."""

    path: str
    age: float

    @classmethod
    def parse(cls, raw: Any) -> Lock:
        return cls(absolute_path(raw["path"]), finite(raw["age"]))


def _arguments(node: NodeContext) -> dict[str, Any]:
    known = job_environment(node)
    return {"environment": known["environment"], "unset": known["unset"]}


LOCKS = Probe("locks", lambda raw: tuple(map(Lock.parse, raw)), _arguments)


@check("sw.lock", Group.SOFTWARE, Level.QUICK, probes=(LOCKS,))
def check_locks(context: Context) -> list[Finding]:
    """No killed build has left a lock that ranks wait for.

    The files `lock` below `~/.cache/torch_extensions` (or `TORCH_EXTENSIONS_DIR`) that no process of this
    user has open. `torch.utils.cpp_extension` makes one while it compiles an extension (DeepSpeed's do so
    at the first run); where it was killed, every process that needs the extension waits for the lock
    without end. Warns, with the line that removes it. Where nodes share the folder, one of the others may
    hold it.
    """

    def verdict(node: NodeContext, found: tuple[Lock, ...]) -> Verdict:
        if not found:
            return passed("no build of an extension has left a lock")
        paths = [lock.path for lock in found]
        return warn(
            f"{first_few(paths)}: left by a build of an extension that was killed; a rank that needs the "
            "extension waits for it without end",
            "remove it, unless a node that shares this folder builds the extension now",
            (f"rm {' '.join(map(shlex.quote, paths))}",),
            {"locks": {lock.path: round(lock.age) for lock in found}},
            as_root=False,
        )

    return judge_each(context, LOCKS, verdict)
