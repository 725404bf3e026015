"""Check that a job's environment and arguments are within the limits of the nodes' kernels."""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.errors import LaunchError
from orchestrator.plan import Plan
from orchestrator.plan.plan import NodePlan
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import count, parse_answer, text
from orchestrator.util.text import printable

# Less than this fits everywhere next to the node's own variables (ARG_MAX is at least 128 KiB).
_SMALL = 64 << 10
_REMEDY = "put large values into a file of the project that the script reads"


async def check_exec_limits(fleet: Fleet, plan: Plan) -> None:
    """Raise LaunchError if a process of the job has more than a node's kernel accepts."""
    specs = [node.spec(plan.run, attempt=0) for node in plan.nodes]
    if max(map(_size, specs)) < _SMALL:
        return

    def arguments(index: int) -> dict[str, Any]:
        return {name: specs[index][name] for name in ("env", "unset", "processes")}

    answers = await fleet.ask_all("fits", arguments)
    problems = [
        parse_answer(node.name, "fits", partial(_problem, node), answer)
        for node, answer in zip(plan.nodes, answers, strict=True)
        if answer is not None
    ]
    if problems:
        raise LaunchError("\n".join(problems), remedy=_REMEDY)


def _size(spec: dict[str, Any]) -> int:
    """Return the approximate number of characters in the environment and the arguments."""
    texts = [*spec["env"], *spec["env"].values()]
    for process in spec["processes"]:
        texts += [*process["argv"], *process["env"], *process["env"].values()]
    return sum(map(len, texts))


def _problem(node: NodePlan, answer: Any) -> str:
    """Return what exceeds a limit of a node's kernel. Raises ValueError and the like, as a parser does."""
    size, limit = count(answer["size"]), count(answer["limit"])
    if answer["one"] != "":
        return (
            f"{node.name}: {_name(answer['one'])} has {size:,} bytes; Linux allows {limit:,} in one"
        )
    largest = ", ".join(
        f"{_name(name)} ({count(size):,})" for name, size in list(answer["largest"])[:3]
    )
    return (
        f"{node.name}: environment and arguments have {size:,} bytes; Linux allows {limit:,} there "
        f"(a quarter of the stack limit, `ulimit -s`). The largest: {largest}"
    )


def _name(variable: Any) -> str:
    return "an argument" if variable is None else f"variable {printable(text(variable), 60)}"
