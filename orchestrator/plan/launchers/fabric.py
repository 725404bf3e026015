"""Launch with Lightning Fabric's CLI: what `fabric run` does, and `lightning run model` did."""

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
    """One CLI process a node, which starts the node's ranks through torchrun, in its own process.

    Its module takes the same options in every release of Lightning 2, whatever the command is called.
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
            "--",  # else an option of the script that has a name of the CLI's would be taken by the CLI
            job.script,
            # for torchrun, which the CLI calls with them
            *(("--", *job.arguments) if job.arguments else ()),
        )
        return (Process("launcher", argv),)

    def check_script(self, text: str) -> ScriptProblem | None:
        line = find_launch_call(text)
        return None if line is None else ScriptProblem(line, _LAUNCH_CALL, _LAUNCH_CALL_REMEDY)


def find_launch_call(source: str) -> int | None:
    """Return the line on which a script calls `launch()` of its Fabric object whatever happens.

    Such a script raises RuntimeError under `fabric run`, which has launched it already. A script that
    asks whether the CLI runs it (LT_CLI_USED), or calls under a condition of its own, is left alone.
    None for a script that does not call it, or that is not Python.
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
    """Return the variables that hold a Fabric object: `fabric`, and what `Fabric(...)` is assigned to."""
    names = {"fabric"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            function = node.value.func
            called = function.attr if isinstance(function, ast.Attribute) else None
            called = function.id if isinstance(function, ast.Name) else called
            if called == "Fabric":
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return names


class _LaunchFinder(ast.NodeVisitor):
    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.line: int | None = None

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'":
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        return  # the script is ready for the refusal

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if (
            isinstance(function, ast.Attribute)
            and function.attr == "launch"
            and isinstance(function.value, ast.Name)
            and function.value.id in self._names
            and self.line is None
        ):
            self.line = node.lineno
        self.generic_visit(node)


LAUNCHER = FabricRun()
