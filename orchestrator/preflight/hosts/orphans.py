"""Processes of other jobs that are still there: leftovers, or somebody else's work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.plan.masking import masked_command
from orchestrator.preflight.answers import finite, optional, text
from orchestrator.preflight.judge import to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed
from orchestrator.util.durations import age
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import first_few

_MOST = 16


@dataclass(frozen=True)
class Process:
    """A process of a job, the first of its family; `age` in seconds, `run` orch's own name of it."""

    pid: int
    age: float
    owner: str
    command: str
    run: str | None
    address: str | None
    port: str | None
    gpu: bool

    @classmethod
    def parse(cls, raw: Any) -> Process:
        return cls(
            pid=int(raw["pid"]),
            age=finite(raw["age"]),
            owner=text(raw["owner"], 40),
            command=text(masked_command(str(raw["command"])), 80),
            run=optional(text, raw["run"]),
            address=optional(text, raw["address"]),
            port=optional(text, raw["port"]),
            gpu=bool(raw["gpu"]),
        )

    def __str__(self) -> str:
        notes = [f"of {self.owner}", f"for {age(self.age)}"]
        notes += [f"run {self.run}"] if self.run else []
        notes += [f"main port {self.port}"] if self.port else []
        notes += ["holds a GPU"] if self.gpu else []
        return f"process {self.pid} ({', '.join(notes)}): {self.command}"


def _parse(raw: Any) -> tuple[Process, ...]:
    return tuple(map(Process.parse, raw["processes"][:_MOST]))


PROCESSES = Probe("orphans", _parse)


@check("host.orphans", Group.HOST, probes=(PROCESSES,))
def check_orphans(context: Context) -> list[Finding]:
    """No process of an earlier job is left.

    Looks through `/proc` for processes with `RANK` and `MASTER_PORT`, `TORCHELASTIC_RUN_ID`, or orch's own
    `ORCH_RUN` in their environment, and for those that have a GPU open. Each family of processes is told of
    once: its id, owner, age and command, and the run if orch started it.

    It warns, for another job may have every right to be there. Ranks that look for their main process at
    this very job's address and port fail, for they would join it. To end them is left to you. Another
    user's environment can be read by root only: such processes are not counted.
    """
    verdicts = []
    for name, found in context.of(PROCESSES).items():
        if isinstance(found, NoAnswer):
            verdicts.append((name, incomplete(found.reason)))
            continue
        stale = [each for each in found if _would_join(context, each)]
        others = [each for each in found if each not in stale]
        if stale:
            told = "still has ranks that will take this job's main address and port for their own"
            verdicts.append((name, _verdict(Status.FAIL, told, stale)))
        if others:
            verdicts.append((name, _verdict(Status.WARN, "has another job's processes", others)))
        if not found:
            verdicts.append((name, passed("has no process of another job")))
    return to_findings(verdicts)


def _would_join(context: Context, process: Process) -> bool:
    """Whether it looks for its main process where this job's will be: nobody else's is there now."""
    meeting = (context.plan.main_address, str(context.plan.main_port))
    return (process.address, process.port) == meeting


def _verdict(status: Status, told: str, found: list[Process]) -> Verdict:
    return Verdict(
        status,
        f"{told}: {first_few([str(each) for each in found], comma='; ')}",
        f"if nobody needs them any more: {_ending(found)}",
        data={
            "processes": [
                {"pid": each.pid, "age": round(each.age), "owner": each.owner, "run": each.run}
                for each in found
            ]
        },
    )


def _ending(found: list[Process]) -> str:
    """Return what ends the processes: a run of orch's own by its name, never one process of it."""
    runs = sorted({each.run for each in found if each.run})
    lines = [f"`{line_to_paste(['orch', 'stop', run])}`" for run in runs]
    if runs:
        lines[-1] += ", where the run was launched"
    pids = [str(each.pid) for each in found if not each.run]
    return "; ".join([*lines, *([f"`kill {' '.join(pids)}`"] if pids else [])])
