"""What a node knows about the end of a rank beyond what its logs show."""

from __future__ import annotations

from dataclasses import dataclass
from signal import SIGKILL
from typing import Any

from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.remote.reports import RankReport
from orchestrator.util import answers
from orchestrator.util.text import printable

_MAX_FOLDERS = 3  # reported as full


@dataclass(frozen=True)
class NodeEvidence:
    """What the node of the first failure knows about it; None for what it does not know.

    `error_file` is torch's error file, `oom_kills` how many processes the kernel killed for lack of
    memory, `kernel` the lines of the kernel log that may be relevant, and `why` why they cannot be read.
    `full` are folders of the run on full disks, `file_limit` is the limit on the bytes of a file there.
    """

    error_file: str | None = None
    oom_kills: int | None = None
    kernel: tuple[str, ...] | None = None
    why: str | None = None
    full: tuple[str, ...] = ()
    file_limit: int | None = None

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
        )


async def fetch_evidence(node: Follower, rank: RankReport, timeout: float) -> NodeEvidence:
    """Return what the node knows about the end of a rank; nothing if it does not answer in time."""
    try:
        answer = await node.ask(
            "evidence",
            timeout=timeout,
            limit=timeout - 1.0,
            attempt=rank.attempt,
            rank=rank.rank,
            killed=rank.end is not None and rank.end.signal == SIGKILL,
            workdir=node.plan.workdir,
        )
        return answers.parse_answer(node.name, "evidence", NodeEvidence.parse, answer)
    except NodeError:
        return NodeEvidence()
