"""A process that holds what a rank wants: a port, a lock, the memory of a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from orchestrator.control.looks.model import Subject
from orchestrator.plan.masking import masked_command
from orchestrator.preflight.answers import text
from orchestrator.util import durations

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def _pid(raw: Any) -> int | None:
    """Return a process id that is safe for `kill`."""
    return int(raw) if raw is not None and int(raw) > 1 else None


def run_name(raw: Any) -> str | None:
    """Return the name of a run that is safe for `orch stop`; None for anything else."""
    return raw if isinstance(raw, str) and _RUN.match(raw) else None


def _command(raw: Any) -> str | None:
    """Return a command line without the values of secrets."""
    return None if raw is None else text(masked_command(str(raw)), 80)


@dataclass(frozen=True)
class Holder:
    """A process; None for what is unknown of another user's. `age` is in seconds, `run` and `rank` are
    those of a process that orch started.
    """

    pid: Annotated[int | None, _pid]
    user: str | None
    command: Annotated[str | None, _command]
    age: float | None
    run: Annotated[str | None, run_name]
    rank: str | None

    @property
    def name(self) -> str:
        """The process by its number, or by its user if that is unknown."""
        return f"a process of {self.user or '?'}" if self.pid is None else f"process {self.pid}"

    def described(self, subject: Subject) -> str:
        """Return it in words: `process 71 (python serve.py) of user ann, for 3 h`."""
        if self.pid is None:
            return f"a process of user {self.user or '?'}"
        since = "" if self.age is None else f", for {durations.age(self.age)}"
        who = f"process {self.pid} ({self.command or '?'}) of user {self.user or '?'}{since}"
        if self.is_of(subject):
            return f"{self.rank_of(subject)} of this run, {who}"
        return f"run {self.run}, {who}" if self.run else who

    def is_of(self, subject: Subject) -> bool:
        """Return whether it belongs to the run of the failed rank."""
        return self.run == subject.run or self.pid in subject.ranks

    def rank_of(self, subject: Subject) -> str:
        number = subject.ranks.get(self.pid or 0)
        if number is None and (self.rank or "").isdigit():
            return f"rank {self.rank}"
        return "a process" if number is None else f"rank {number}"

    @property
    def way_to_end(self) -> str:
        """The command that ends it; empty if its process id is unknown."""
        return "" if self.pid is None else f"kill {self.pid}"
