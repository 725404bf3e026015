"""The script, read without running it: what is known to fail before it starts."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.plan.fabric import LAUNCH_CALL, LAUNCH_CALL_REMEDY, find_launch_call
from orchestrator.preflight.judge import whole
from orchestrator.preflight.model import Check, Finding, Group, Level, Remedy, Status
from orchestrator.preflight.scene import Scene, Script
from orchestrator.preflight.script import lightning, lint
from orchestrator.preflight.script.flow import Unreadable, read
from orchestrator.preflight.script.lint import Hint


def _verdict(scene: Scene) -> list[Finding]:
    script = scene.script
    if script is None:
        return whole(scene, Status.SKIP, "no script was given")
    code = read(script.text)
    if isinstance(code, Unreadable):
        where = f"{script.path}:{code.line}"
        text = f"{where} cannot be read as Python here: {code.reason}"
        remedy = Remedy(f"look at {where}; it may be right for a Python that is newer than orch's")
        return whole(scene, Status.WARN, text, remedy=remedy)
    found = [
        _finding(scene, script, hint)
        for hint in (
            *_launch_call(scene, script),
            *lightning.hints(code, scene),
            *lint.hints(code, script.text, scene),
        )
    ]
    return found or whole(scene, Status.PASS, f"nothing in {script.path} contradicts this launch")


def _launch_call(scene: Scene, script: Script) -> Iterator[Hint]:
    line = find_launch_call(script.text) if scene.plan.launcher == "fabric" else None
    if line is not None:
        yield Hint(Status.FAIL, line, LAUNCH_CALL, LAUNCH_CALL_REMEDY)


def _finding(scene: Scene, script: Script, hint: Hint) -> Finding:
    nodes = hint.nodes or scene.names
    message = f"{script.path}:{hint.line}: {hint.message}"
    return Finding(
        hint.status, nodes, message, Remedy(hint.remedy, nodes=nodes), {"line": hint.line}
    )


CHECKS = (
    Check(
        id="sw.script",
        group=Group.SOFTWARE,
        level=Level.QUICK,
        meaning="the script does not contradict the launch",
        page="Reads the script, runs nothing. Fails for what is sure to stop it: `fabric.launch()` under "
        "`fabric run`; a `Fabric()` or `Trainer()` whose `num_nodes` or `devices` are not those of this "
        'launch; `init_process_group("nccl")` on a node without a GPU. What may not run, in a function '
        "that nothing calls for certain, only warns, and what stands under a condition is left alone.\n\n"
        "Warns also for an address or port that is written into the script where the launch has another "
        '(`init_method="tcp://..."`, `os.environ["MASTER_ADDR"] = ...`), for LOCAL_RANK 0 guarding '
        "something in a script that never asks for RANK (there is one such rank on every node), and for a "
        "script that this machine's Python cannot read.",
        verdict=_verdict,
    ),
)
