"""Launch with Lightning Fabric's CLI, as `fabric run` (formerly `lightning run model`) does."""

from __future__ import annotations

import ast

from orchestrator.errors import PlanError
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Process, ScriptProblem, Share
from orchestrator.plan.launchers.torchrun_options import TorchrunOptions
from orchestrator.util.text import escaped

_LAUNCH_CALL = (
    "the script calls launch() itself, which Lightning refuses under `fabric run` (it has launched the "
    "script already)"
)
_LAUNCH_CALL_REMEDY = (
    "use --launcher torchrun (launch() then does nothing), --launcher python (the script launches its "
    "own ranks), or remove the call"
)


class FabricRun(TorchrunOptions):
    """One CLI process a node, which runs torchrun in its own process to start the node's ranks.

    Its module takes the same options in every release of Lightning 2, under both names of the command.
    """

    name = "fabric"
    help = "Lightning's `fabric run`"
    needs = ("torch", "lightning")
    module = "lightning.fabric.cli"
    configures_fabric = True

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        if job.module or job.program:
            what = "a module" if job.module else f"a program: {escaped(job.script)}"
            raise PlanError(
                f"`fabric run` runs a Python script, not {what}", remedy="use --launcher torchrun"
            )
        accelerator = "cuda" if share.gpus else "cpu"
        given = {word.split("=", 1)[0] for word in job.launcher_arguments}
        argv = (
            share.python,
            *("-m", self.module),
            *(() if "--accelerator" in given else (f"--accelerator={accelerator}",)),
            f"--devices={share.devices}",
            f"--num-nodes={share.nodes}",
            f"--node-rank={share.node_rank}",
            f"--main-address={share.main_address}",
            f"--main-port={share.main_port}",
            *job.launcher_arguments,
            "--",  # else the CLI would take options of the script that it has, too
            job.script,
            # the CLI passes them to torchrun
            *(("--", *job.arguments) if job.arguments else ()),
        )
        return (Process("launcher", argv),)

    def check_script(self, text: str, job: Job) -> ScriptProblem | None:
        line = find_launch_call(text)
        return None if line is None else ScriptProblem(line, _LAUNCH_CALL, _LAUNCH_CALL_REMEDY)


def find_launch_call(source: str) -> int | None:
    """Return the line on which a script calls `launch()` of its Fabric object unconditionally.

    Such a script raises RuntimeError under `fabric run`, which has launched it already. None if there is no
    such call, if it depends on a condition, if the script checks LT_CLI_USED, or is not Python.
    """
    if "LT_CLI_USED" in source or "_is_using_cli" in source:
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    finder = _LaunchFinder(_fabric_names(tree))
    finder.visit(tree)
    return finder.line


def _fabric_names(tree: ast.Module) -> set[str]:
    """Return the names of Fabric objects: `fabric`, and variables that `Fabric(...)` is assigned to."""
    names = {"fabric"}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=targets,
                value=ast.Call(func=ast.Name(id="Fabric") | ast.Attribute(attr="Fabric")),
            ):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


class _LaunchFinder(ast.NodeVisitor):
    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.line: int | None = None

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'":
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        return  # the script handles the error

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(attr="launch", value=ast.Name(id=name)) if name in self._names:
                self.line = self.line or node.lineno
        self.generic_visit(node)


LAUNCHER = FabricRun()
