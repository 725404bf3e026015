"""Read the script without running it, and report what is known to fail before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    Remedy,
    Script,
    Status,
    check,
)
from orchestrator.preflight.script import accelerate, collectives, gpus, lightning, lint
from orchestrator.preflight.script.flow import Unreadable, read
from orchestrator.preflight.script.imports import needs
from orchestrator.preflight.script.lint import Hint
from orchestrator.preflight.software.interpreter import SOFTWARE
from orchestrator.preflight.verdict import Verdict, passed, skip


@check("sw.script", Group.SOFTWARE, Level.QUICK, probes=(SOFTWARE,))
def check_script(context: Context) -> list[Finding]:
    """The script does not contradict the launch.

    Reads the script without running it. Fails for what is sure to fail: `fabric.launch()` under `fabric
    run`; a `Fabric()` or `Trainer()` with another `num_nodes` or `devices` than this launch;
    `init_process_group("nccl")`, `accelerator="cuda"` or another use of CUDA on a node without a GPU, or
    with a torch that is built for CPUs. What may not run, in a function that nothing surely calls, only
    warns; what is under a condition is ignored.

    Fails, too, if each rank would train by itself: a `Fabric()` or `Trainer()` with one device and one
    node under a launcher that starts several ranks. That runs to the end and looks like success. The
    remedy names the launcher that fits; `--preflight off` starts it nevertheless. If another call in the
    script fits the launch, it only warns.

    Warns for a call that all ranks must make (`fabric.save`, `dist.barrier`, `accelerator.save_state`), in
    the script or a module of its own, under a condition that only some ranks pass, such as `if rank == 0`,
    unless the others make it in another branch: those ranks wait for the others forever. Warns also if the
    script sets another address or port than the launch (`init_method="tcp://..."`,
    `os.environ["MASTER_ADDR"] = ...`), if LOCAL_RANK 0 guards something in a script that never reads RANK
    (every node has such a rank), for an `Accelerator()` on nodes without a GPU that neither `cpu=True` nor
    ACCELERATE_USE_CPU sends to the CPU (each rank would train by itself), and if this machine's Python
    cannot parse the script.
    """
    script = context.script
    if script is None:
        return for_all(context, skip(context.why_no_script))
    code = read(script.text)
    if isinstance(code, Unreadable):
        where = f"{script.path}:{code.line}"
        message = f"{where} cannot be parsed as Python here: {code.reason}"
        remedy = Remedy(f"check {where}; it may be valid for a Python that is newer than orch's")
        return [Finding(Status.WARN, context.names, message, remedy)]
    of_script = chain(
        _against_launcher(context, script),
        lightning.hints(code, context),
        accelerate.hints(code, context),
        gpus.hints(code, context),
        collectives.hints(code, context),
        lint.hints(code, script.text, context),
    )
    found = [_finding(context, script.path, hint) for hint in of_script]
    found += [
        _finding(context, path, hint)
        for path, module in needs(script).own
        for hint in collectives.hints(module, context)
    ]
    return found or for_all(context, passed(f"nothing in {script.path} contradicts this launch"))


def _against_launcher(context: Context, script: Script) -> Iterator[Hint]:
    problem = context.launcher.check_script(script.text, context.job)
    if problem is not None:
        yield Hint(Status.FAIL, problem.line, problem.message, problem.remedy)


def _finding(context: Context, path: Path, hint: Hint) -> Finding:
    nodes = hint.nodes or context.names
    message = f"{path}:{hint.line}: {hint.message}"
    return Verdict(hint.status, message, hint.remedy, data={"line": hint.line}).on(nodes)


CHECKS = (check_script,)
