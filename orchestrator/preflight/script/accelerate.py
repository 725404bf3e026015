"""Find an Accelerator that would make a world of one in every rank.

Without a GPU, Accelerate joins the ranks only if `cpu=True` or ACCELERATE_USE_CPU says so; otherwise it
ignores RANK and WORLD_SIZE (Accelerate 1.15: accelerate/state.py, `PartialState._prepare_backend`). It
knows accelerators that orch does not count, so this is a warning.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.preflight.model import Context, NodeContext, Status
from orchestrator.preflight.script.flow import Certainty, Code
from orchestrator.preflight.script.gpus import usable_gpus
from orchestrator.preflight.script.lint import Hint, argument

_USE_CPU = "ACCELERATE_USE_CPU"
_POSITION = 4  # of `cpu`


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield a hint for an Accelerator() on nodes without a GPU, unless it is said to use the CPU."""
    calls = [
        call
        for call, name, how in code.calls()
        if name == "accelerate.Accelerator" and how >= Certainty.LIKELY and not _may_use_cpu(call)
    ]
    nodes = tuple(node.name for node in context.nodes if _is_without_device(node))
    if calls and nodes and context.plan.world_size > 1:
        yield Hint(
            Status.WARN,
            calls[0].lineno,
            "Accelerator() joins ranks on CPUs only if cpu=True or the environment says so: each of the "
            f"{context.plan.world_size} ranks would train by itself",
            f"-e {_USE_CPU}=true, or --launcher accelerate; for accelerators that orch does not count, "
            f"-e {_USE_CPU}=false",
            nodes,
        )


def _may_use_cpu(call: ast.Call) -> bool:
    unpacked = any(keyword.arg is None for keyword in call.keywords)
    starred = any(isinstance(each, ast.Starred) for each in call.args)
    return unpacked or starred or argument(call, "cpu", _POSITION) is not None


def _is_without_device(node: NodeContext) -> bool:
    variables = (node.facts.environment, node.plan.environment)
    of_processes = (process.environment for process in node.plan.processes)
    is_set = any(_USE_CPU in each for each in (*variables, *of_processes))
    return not usable_gpus(node) and not is_set
