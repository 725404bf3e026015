"""Processes of other jobs that still run: left behind, or another user's work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from orchestrator.plan.masking import masked_command
from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.model import Group, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, passed
from orchestrator.util.durations import age
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import first_few

_MAX_PROCESSES = 16


def _command(raw: Any) -> str:
    return text(masked_command(str(raw)), 80)


@dataclass(frozen=True)
class Process:
    """A process of a job, the first of its family; `age` is in seconds, `run` the run if it is orch's."""

    pid: int
    age: float
    owner: Annotated[str, partial(text, limit=40)]
    command: Annotated[str, _command]
    run: str | None
    address: str | None
    port: str | None
    gpu: bool

    def __str__(self) -> str:
        notes = [f"of {self.owner}", f"for {age(self.age)}"]
        notes += [f"run {self.run}"] if self.run else []
        notes += [f"main port {self.port}"] if self.port else []
        notes += ["holds a GPU"] if self.gpu else []
        return f"process {self.pid} ({', '.join(notes)}): {self.command}"


def _parse(raw: Any) -> tuple[Process, ...]:
    return reader(tuple[Process, ...])(raw["processes"][:_MAX_PROCESSES])


PROCESSES = Probe("orphans", _parse)


@check("host.orphans", Group.HOST, probes=(PROCESSES,))
@each_node
def check_orphans(node: NodeContext) -> Iterator[Verdict]:
    """No process of an earlier job is left.

    Searches `/proc` for processes with `RANK` and `MASTER_PORT`, `TORCHELASTIC_RUN_ID`, or orch's own
    `ORCH_RUN` in their environment, and for those that have a GPU open. Each family of processes is
    reported once: its id, owner, age and command, and the run if orch started it.

    Warns, because another job may have every right to be there. Ranks that look for their main process at
    this job's own address and port fail, because they would join it. Ending them is left to you. Only root
    can read another user's environment: such processes are not counted.
    """
    found, plan = node.answer(PROCESSES), node.context.plan
    main = (plan.main_address, str(plan.main_port))  # where no other job's main process is now
    joining = [each for each in found if (each.address, each.port) == main]
    others = [each for each in found if each not in joining]
    if joining:
        message = "still has ranks that will use this job's main address and port"
        yield _verdict(Status.FAIL, message, joining)
    if others:
        yield _verdict(Status.WARN, "has another job's processes", others)
    if not found:
        yield passed("has no process of another job")


def _verdict(status: Status, message: str, found: list[Process]) -> Verdict:
    keys = ("pid", "owner", "run")
    processes = [{k: getattr(p, k) for k in keys} | {"age": round(p.age)} for p in found]
    return Verdict(
        status,
        f"{message}: {first_few([str(each) for each in found], comma='; ')}",
        f"if no one needs them any more: {_ending(found)}",
        data={"processes": processes},
    )


def _ending(found: list[Process]) -> str:
    """Return what ends the processes: those of a run of orch's all together, by its name."""
    runs = sorted({each.run for each in found if each.run})
    pids = [str(each.pid) for each in found if not each.run]
    commands = [f"`{line_to_paste(['orch', 'stop', run])}`" for run in runs]
    if runs:
        commands[-1] += ", where the run was launched"
    if pids:
        commands.append(f"`kill {' '.join(pids)}`")
    return "; ".join(commands)
