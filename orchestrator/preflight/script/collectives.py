"""Calls that every rank must make, and that a script leaves to some: those wait in them for ever."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.script.flow import Code, Function, leaves
from orchestrator.preflight.script.lint import Hint

_COLLECTIVES = {
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all",
    "all_to_all_single", "barrier", "broadcast", "broadcast_object_list", "gather", "gather_object",
    "init_process_group", "monitored_barrier", "new_group", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "scatter_object_list",
}  # fmt: skip
_CHECKPOINTS = {"save", "load", "async_save"}  # of torch.distributed.checkpoint
# Methods by the class of the object, and by the name that it usually has. Lightning's and Accelerate's own
# pages say of these that all processes must call them.
_METHODS = {
    "Fabric": {"all_gather", "all_reduce", "backward", "barrier", "broadcast", "save", "setup"},
    "Trainer": {"fit", "predict", "save_checkpoint", "test", "validate"},
    "Accelerator": {
        "backward", "gather", "gather_for_metrics", "pad_across_processes", "prepare", "reduce",
        "save_state", "wait_for_everyone",
    },
}  # fmt: skip
_USUAL_NAMES = {"fabric": "Fabric", "accelerator": "Accelerator"}
_WRITES_BY_ITSELF = {"save", "save_checkpoint", "save_state"}

_RANK = re.compile(r"(?:\w*_)?rank\Z", re.IGNORECASE)
_IS_FIRST = re.compile(
    r"(?:is_)?(?:main|master|world|global|local_main|local)_(?:process|rank|zero|process_zero)\Z"
    r"|is_(?:main|master|first|chief|rank_?(?:0|zero))\Z|rank_?zero\Z"
)
_LONGEST_CONDITION = 60


class _Who(Enum):
    """Which ranks a condition lets through."""

    ONE = "one"
    OTHERS = "others"


@dataclass(frozen=True)
class _Guarded:
    """A collective `name` at `line`, of which `condition` (at `at`) lets only some ranks come."""

    name: str
    line: int
    condition: str
    at: int
    who: _Who


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield the calls that only some of the ranks make.

    Where the other ranks make a call of the same name in another branch, the two may meet.
    """
    if context.plan.world_size == 1:
        return
    finder = _Finder(code, has_local_ranks=any(node.devices > 1 for node in context.plan.nodes))
    told: set[int] = set()
    for guarded in finder.guarded():
        if guarded.line in told:
            continue
        told.add(guarded.line)
        short = guarded.name.rpartition(".")[2]
        where = "" if guarded.at == guarded.line else f" (line {guarded.at})"
        yield Hint(
            Status.WARN,
            guarded.line,
            f"every rank must call {guarded.name}(), and `{guarded.condition}`{where} lets only some: "
            "those will wait for the others without end",
            f"call {guarded.name}() on every rank, outside of the condition: it writes once by itself"
            if short in _WRITES_BY_ITSELF
            else f"have every rank call {guarded.name}(), or none",
        )


class _Finder:
    def __init__(self, code: Code, *, has_local_ranks: bool) -> None:
        self._code = code
        self._has_local_ranks = has_local_ranks
        self._kinds = dict(_USUAL_NAMES)
        self._functions: list[Function] = []
        for node in ast.walk(code.tree):
            if isinstance(node, Function):
                self._functions.append(node)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                kind = (code.name_of(node.value.func) or "").rpartition(".")[2]
                if kind in _METHODS and not _is_of_transformers(code, node.value.func):
                    self._kinds.update((_last(target), kind) for target in node.targets)
        top = [each for each in code.tree.body if isinstance(each, Function)]
        names = Counter(each.name for each in top)
        self._called_by_name = {each.name: each for each in top if names[each.name] == 1}

    def guarded(self) -> Iterator[_Guarded]:
        """Yield what is found, function by function."""
        bodies: list[Sequence[ast.stmt]] = [self._code.tree.body]
        for function in self._functions:
            if any(_last(each) == "rank_zero_only" for each in function.decorator_list):
                at = function.decorator_list[0].lineno
                for name, line in self._calls(function.body):
                    yield _Guarded(name, line, "@rank_zero_only", at, _Who.ONE)
            else:
                bodies.append(function.body)
        for body in bodies:
            found = list(self._in_body(body))
            pairs = {(each.name, each.who) for each in found}
            for each in found:
                other = _Who.ONE if each.who is _Who.OTHERS else _Who.OTHERS
                if (each.name, other) not in pairs:
                    yield each

    def _in_body(self, body: Sequence[ast.stmt]) -> Iterator[_Guarded]:
        """Yield what conditions in a function's body guard; of the branch that both sides have, both."""
        for number, statement in enumerate(body):
            if isinstance(statement, Function | ast.ClassDef):
                continue
            who = self._who(statement.test) if isinstance(statement, ast.If) else None
            if isinstance(statement, ast.If) and who is not None:
                has_more = isinstance(statement.test, ast.BoolOp)  # who fails it is not known then
                does_leave = leaves(statement.body[-1]) and not has_more
                rest = [] if has_more else statement.orelse
                if does_leave:
                    rest = [*rest, *body[number + 1 :]]
                other = _Who.OTHERS if who is _Who.ONE else _Who.ONE
                for branch, whose in ((statement.body, who), (rest, other)):
                    for name, line in self._calls(branch):
                        yield _Guarded(name, line, _condition(statement), statement.lineno, whose)
                if does_leave:
                    return  # what follows is a branch of this condition
                continue
            for inner in _bodies(statement):
                yield from self._in_body(inner)

    def _calls(
        self, body: Sequence[ast.stmt], seen: frozenset[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        """Yield the collectives that `body` calls, also through functions of the script's own."""
        for statement in body:
            if isinstance(statement, Function | ast.ClassDef):
                continue
            for node in ast.walk(statement):
                if not isinstance(node, ast.Call):
                    continue
                if name := self._collective(node):
                    yield name, node.lineno
                elif isinstance(node.func, ast.Name) and node.func.id not in seen:
                    called = self._called_by_name.get(node.func.id)
                    if called is not None:
                        yield from self._calls(called.body, seen | {called.name})

    def _collective(self, call: ast.Call) -> str | None:
        """Return the name of a call that all ranks must make; None for others, and for those of a group."""
        name = self._code.name_of(call.func)
        if name is None or any(word.arg in ("group", "process_group") for word in call.keywords):
            return None
        owner, _, method = name.rpartition(".")
        if owner in ("torch.distributed", "torch.distributed.distributed_c10d"):
            return f"dist.{method}" if method in _COLLECTIVES else None
        if owner == "torch.distributed.checkpoint":
            return f"checkpoint.{method}" if method in _CHECKPOINTS else None
        kind = self._kinds.get(owner.rpartition(".")[2])
        return f"{owner}.{method}" if kind is not None and method in _METHODS[kind] else None

    def _who(self, test: ast.expr) -> _Who | None:
        """Return whom a condition lets through; None where it does not ask for the rank."""
        if self._is_rank(test):
            return _Who.OTHERS  # `if rank:`
        match test:
            case ast.BoolOp(op=ast.And(), values=values):
                return next((who for who in map(self._who, values) if who is not None), None)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                if self._is_rank(operand):
                    return _Who.ONE
                inner = self._who(operand)
                if inner is None:
                    return None
                return _Who.OTHERS if inner is _Who.ONE else _Who.ONE
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if self._is_rank(left):
                return _compared(operator, right)
            case ast.Call(func=function):
                return (
                    self._who(function) if isinstance(function, ast.Name | ast.Attribute) else None
                )
            case ast.Name() | ast.Attribute() if _IS_FIRST.match(_last(test)):
                return _Who.ONE if self._has_local_ranks or "local" not in _last(test) else None
        return None

    def _is_rank(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="int"), args=[inner]):
                return self._is_rank(inner)
            case ast.Subscript(slice=ast.Constant(value=str(name))):
                return self._is_name_of_rank(name)  # os.environ["RANK"]
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
                return self._is_name_of_rank(name)
            case ast.Call(func=function):
                return self._is_name_of_rank(_last(function))  # dist.get_rank()
            case ast.Name() | ast.Attribute():
                return self._is_name_of_rank(_last(node))
        return False

    def _is_name_of_rank(self, name: str) -> bool:
        if "local" in name.lower() and not self._has_local_ranks:
            return False  # it is 0 on every rank
        return _RANK.match(name) is not None


def _compared(operator: ast.cmpop, right: ast.expr) -> _Who | None:
    try:
        value = ast.literal_eval(right)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, list | tuple | set):
        if isinstance(operator, ast.In | ast.NotIn) and 0 in value:
            return _Who.ONE if isinstance(operator, ast.In) else _Who.OTHERS
        return None
    if type(value) is not int:
        return None
    match operator:
        case ast.Eq():
            return _Who.ONE
        case ast.NotEq():
            return _Who.OTHERS
        case ast.Gt() if value == 0:
            return _Who.OTHERS
        case ast.Lt() if value == 1:
            return _Who.ONE
    return None


def _bodies(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    """Yield the blocks of a compound statement."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(statement, name, None)
        if block:
            yield block
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _condition(statement: ast.If) -> str:
    text = f"if {ast.unparse(statement.test)}"
    return text if len(text) <= _LONGEST_CONDITION else f"{text[: _LONGEST_CONDITION - 1]}…"


def _last(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty for what is none."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_of_transformers(code: Code, function: ast.expr) -> bool:
    return (code.name_of(function) or "").startswith("transformers.")
