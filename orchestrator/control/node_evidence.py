"""What a node knows about the end of a rank beyond what its logs show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from signal import SIGKILL
from typing import Annotated, Any

from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.remote.reports import RankReport
from orchestrator.util import answers
from orchestrator.util.text import printable

_MAX_FOLDERS = 3  # reported as full
_KILL = re.compile(r"Killed? process (\d{1,10})\b")


def _line(raw: Any) -> str:
    return printable(answers.text(raw))


@dataclass(frozen=True)
class MemoryGroup:
    """A control group, the limit on its memory, and what it uses, in bytes."""

    path: Annotated[str, _line]
    limit: int
    used: int


_GROUP = answers.reader(MemoryGroup)


@dataclass(frozen=True)
class NodeEvidence:
    """What the node of the first failure knows about it; None for what it does not know.

    `error_file` is torch's error file, `oom_kills` how many processes the kernel killed for lack of
    memory, `kernel` the lines of the kernel log that may be relevant, and `why` why they cannot be read.
    `full` are folders of the run on full disks, `file_limit` is the limit on the bytes of a file there.
    `source` is where the kernel log was read, `counter` the file with the count of kills, and `group` the
    control group that limits the rank's memory. `answers` are those of probes, parsed, by their names;
    `delay` is how many seconds after the end of the rank they were asked.
    """

    error_file: str | None = None
    oom_kills: int | None = None
    kernel: tuple[str, ...] | None = None
    why: str | None = None
    full: tuple[str, ...] = ()
    file_limit: int | None = None
    source: str | None = None
    counter: str | None = None
    group: MemoryGroup | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0

    def lines_about(self, pid: int | None) -> list[str]:
        """Return the lines of the kernel log about this process, not about others on the node."""
        if pid is None:
            return []
        name = re.compile(rf"\b{pid}\b")
        return [line for line in self.kernel or () if name.search(line)]

    def kills_of(self, pid: int | None) -> int | None:
        """Return how many processes the kernel killed for lack of memory, of which this may be one.

        That is 0 if its log names the processes of all these kills, and this one is not among them.
        """
        if not self.oom_kills or pid is None:
            return self.oom_kills
        named = {int(found[1]) for line in self.kernel or () for found in _KILL.finditer(line)}
        return 0 if pid not in named and len(named) >= self.oom_kills else self.oom_kills

    @classmethod
    def parse(cls, answer: Any) -> NodeEvidence:
        """Return the node's answer to `evidence`. Raises TypeError, ValueError or KeyError."""
        error_file, oom_kills = answer["error_file"], answer["oom_kills"]
        kernel, why, limit = answer["kernel"], answer["why"], answer["file_limit"]
        return cls(
            error_file=None if error_file is None else answers.text(error_file),
            oom_kills=None if oom_kills is None else answers.count(oom_kills),
            kernel=None if kernel is None else tuple(answers.texts(kernel)),
            why=None if why is None else printable(answers.text(why)),
            full=tuple(printable(path) for path in answers.texts(answer["full"])[:_MAX_FOLDERS]),
            file_limit=None if limit is None else answers.count(limit),
            source=answers.optional(_line, answer.get("source")),
            counter=answers.optional(_line, answer.get("counter")),
            group=answers.optional(_GROUP, answer.get("group")),
        )


async def fetch_evidence(
    node: Follower, rank: RankReport, timeout: float, *, killed: bool = False
) -> NodeEvidence | None:
    """Return what the node knows about the end of a rank; None if it does not answer in time.

    `killed`: something may have killed it, or a process of it, even if no signal ended the rank itself.
    """
    try:
        answer = await node.ask(
            "evidence",
            timeout=timeout,
            limit=timeout - 1.0,
            attempt=rank.attempt,
            rank=rank.rank,
            killed=killed or (rank.end is not None and rank.end.signal == SIGKILL),
            workdir=node.plan.workdir,
        )
        return answers.parse_answer(node.name, "evidence", NodeEvidence.parse, answer)
    except NodeError:
        return None
