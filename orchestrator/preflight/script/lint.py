"""Find what contradicts the plan in a script: rules on torch.distributed and the environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.script.flow import Certainty, Code

_GLOBAL_RANK = re.compile(
    r"\bRANK\b|get_rank|global_rank|global_zero|rank_zero|SLURM_PROCID|is_(?:main|world)_process"
)
_TCP = re.compile(r"tcp://(\[[^]]*\]|[^:/]*):(\d{1,9})")


@dataclass(frozen=True)
class Hint:
    """What is wrong at a line (from 1) of the script, on `nodes` (empty: on all), and how to fix it."""

    status: Status
    line: int
    message: str
    remedy: str
    nodes: tuple[str, ...] = ()


def hints(code: Code, text: str, context: Context) -> Iterator[Hint]:
    """Yield what will fail, or not do what was intended, on the nodes of the plan."""
    yield from _own_rendezvous(code, context)
    yield from _local_rank_for_rank(code, text, context)


def severity(how: Certainty) -> Status:
    """Return the status of something that cannot work, by how certain it is that it runs."""
    return Status.FAIL if how is Certainty.SURE else Status.WARN


def literal(node: ast.AST | None) -> object:
    """Return the value of a constant, a negative number or a list of them; None for anything else."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """Return what is passed to a call by this name, or at this position."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    args = [] if position is None else call.args[: position + 1]
    if position is None or len(args) <= position or any(isinstance(a, ast.Starred) for a in args):
        return None
    return args[position]


def group_calls(code: Code) -> Iterator[tuple[ast.Call, str, Certainty]]:
    """Yield each call of torch.distributed's init_process_group, with its short name."""
    for call, name, how in code.calls():
        short = name.rpartition(".")[2]
        if short == "init_process_group" and name.startswith("torch."):
            yield call, short, how


def _own_rendezvous(code: Code, context: Context) -> Iterator[Hint]:
    """Yield addresses and ports in the script that are not those of the launch."""
    plan = context.plan
    host = context.nodes[0].host
    main = {plan.main_address, plan.nodes[0].name, host.address, context.facts[0].hostname}
    here = f"{plan.main_address} port {plan.main_port}"
    for call, name, how in group_calls(code):
        given = literal(argument(call, "init_method", 1))
        match = _TCP.match(given) if isinstance(given, str) else None
        if match and how >= Certainty.LIKELY:
            address, port = match[1].strip("[]"), int(match[2])
            if address not in main or port != plan.main_port:
                message = f"{name} uses {given}, but the rendezvous of this launch is {here}"
                remedy = 'leave it to the launch: init_method="env://", which is the default'
                yield Hint(Status.WARN, call.lineno, message, remedy)
    valid = {"MASTER_ADDR": main, "MASTER_PORT": {str(plan.main_port)}}
    for node, how in code.nodes():
        if isinstance(node, ast.Assign) and how >= Certainty.LIKELY:
            value = literal(node.value)
            for variable in filter(None, (_variable(code, target) for target in node.targets)):
                if isinstance(value, str) and value not in valid.get(variable, {value}):
                    message = f"the script sets {variable} to {value!r}, but this launch has {here}"
                    remedy = f'write os.environ.setdefault("{variable}", ...), or remove it'
                    yield Hint(Status.WARN, node.lineno, message, remedy)


def _local_rank_for_rank(code: Code, text: str, context: Context) -> Iterator[Hint]:
    """Yield what only LOCAL_RANK 0 does, if the script never reads the global rank."""
    if len(context.names) == 1 or _GLOBAL_RANK.search(text):
        return
    local = {
        target.id
        for node, _ in code.nodes()
        if isinstance(node, ast.Assign) and _reads_local_rank(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node, how in code.nodes():
        if (
            isinstance(node, ast.If)
            and how >= Certainty.LIKELY
            and _is_zero(node.test, local)
            and not any("download" in ast.unparse(statement).lower() for statement in node.body)
        ):
            message = f"LOCAL_RANK is 0 on each of the {len(context.names)} nodes, so each runs this branch"
            yield Hint(Status.WARN, node.lineno, message, "test RANK if only one rank is to run it")
            return


def _variable(code: Code, target: ast.expr) -> str | None:
    """Return the name in `os.environ["NAME"]`."""
    if isinstance(target, ast.Subscript) and code.name_of(target.value) == "os.environ":
        name = literal(target.slice)
        return name if isinstance(name, str) else None
    return None


def _reads_local_rank(node: ast.expr, local: set[str]) -> bool:
    return any(
        (isinstance(part, ast.Constant) and part.value == "LOCAL_RANK")
        or (isinstance(part, ast.Name) and part.id in local)
        for part in ast.walk(node)
    )


def _is_zero(test: ast.expr, local: set[str]) -> bool:
    """Return whether `test` is `local_rank == 0` or `not local_rank`."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=zero)]):
            return zero in (0, "0") and _reads_local_rank(left, local)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _reads_local_rank(operand, local)
    return False
