"""Find collective calls that only some ranks make: those ranks wait in them forever."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.script.flow import Code, Function, leaves
from orchestrator.preflight.script.lint import Hint, literal

_COLLECTIVES = {
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all",
    "all_to_all_single", "barrier", "broadcast", "broadcast_object_list", "gather", "gather_object",
    "init_process_group", "monitored_barrier", "new_group", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "scatter_object_list",
}  # fmt: skip
_CHECKPOINTS = {"save", "load", "async_save"}  # of torch.distributed.checkpoint
# Methods that all processes must call, by class, as documented by Lightning and Accelerate.
_METHODS = {
    "Fabric": {"all_gather", "all_reduce", "backward", "barrier", "broadcast", "save", "setup"},
    "Trainer": {"fit", "predict", "save_checkpoint", "test", "validate"},
    "Accelerator": {
        "backward", "gather", "gather_for_metrics", "pad_across_processes", "prepare", "reduce",
        "save_state", "wait_for_everyone",
    },
}  # fmt: skip
_USUAL_VARIABLES = {"fabric": "Fabric", "accelerator": "Accelerator"}
_WRITE_ONCE = {"save", "save_checkpoint", "save_state"}

_RANK = re.compile(r"(?:\w*_)?rank\Z", re.IGNORECASE)
_IS_FIRST = re.compile(
    r"(?:is_)?(?:main|master|world|global|local_main|local)_(?:process|rank|zero|process_zero)\Z"
    r"|is_(?:main|master|first|chief|rank_?(?:0|zero))\Z|rank_?zero\Z"
)
_MAX_CONDITION_CHARS = 60


class _Ranks(Enum):
    """Which ranks a condition lets through: the first one, or the others."""

    FIRST = "first"
    OTHERS = "others"

    @property
    def rest(self) -> _Ranks:
        """The ranks that fail the condition."""
        return _Ranks.OTHERS if self is _Ranks.FIRST else _Ranks.FIRST


@dataclass(frozen=True)
class _Guarded:
    """A collective `name` at `line` that only `ranks` reach, for the `condition` at line `at`."""

    name: str
    line: int
    condition: str
    at: int
    ranks: _Ranks


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield the calls that only some ranks make, one for each line.

    If the other ranks make a call of the same name in another branch, the two may match.
    """
    if context.plan.world_size == 1:
        return
    finder = _Finder(code, has_local_ranks=any(node.devices > 1 for node in context.plan.nodes))
    first_of_line: dict[int, _Guarded] = {}
    for guarded in finder.guarded():
        first_of_line.setdefault(guarded.line, guarded)
    for line, guarded in first_of_line.items():
        name = guarded.name
        where = "" if guarded.at == line else f" (line {guarded.at})"
        yield Hint(
            Status.WARN,
            line,
            f"every rank must call {name}(), but `{guarded.condition}`{where} lets only some: "
            "those wait for the others forever",
            f"call {name}() on every rank, outside the condition: it writes only once by itself"
            if name.rpartition(".")[2] in _WRITE_ONCE
            else f"have every rank call {name}(), or none",
        )


class _Finder:
    def __init__(self, code: Code, *, has_local_ranks: bool) -> None:
        self._code = code
        self._has_local_ranks = has_local_ranks
        self._kinds = dict(_USUAL_VARIABLES)
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
        """Yield the guarded calls, function by function."""
        bodies: list[Sequence[ast.stmt]] = [self._code.tree.body]
        for function in self._functions:
            if any(_last(each) == "rank_zero_only" for each in function.decorator_list):
                at = function.decorator_list[0].lineno
                for name, line in self._calls(function.body):
                    yield _Guarded(name, line, "@rank_zero_only", at, _Ranks.FIRST)
            else:
                bodies.append(function.body)
        for body in bodies:
            found = list(self._in_body(body))
            reached = {(each.name, each.ranks) for each in found}
            yield from (each for each in found if (each.name, each.ranks.rest) not in reached)

    def _in_body(self, body: Sequence[ast.stmt]) -> Iterator[_Guarded]:
        """Yield the calls that conditions in a function's body guard, in both of their branches."""
        for number, statement in enumerate(body):
            if isinstance(statement, Function | ast.ClassDef):
                continue
            ranks = self._ranks(statement.test) if isinstance(statement, ast.If) else None
            if isinstance(statement, ast.If) and ranks is not None:
                compound = isinstance(statement.test, ast.BoolOp)  # who fails it is not known
                exits = leaves(statement.body[-1]) and not compound
                rest = [] if compound else statement.orelse
                if exits:
                    rest = [*rest, *body[number + 1 :]]
                condition = _condition(statement)
                for branch, reaching in ((statement.body, ranks), (rest, ranks.rest)):
                    for name, line in self._calls(branch):
                        yield _Guarded(name, line, condition, statement.lineno, reaching)
                if exits:
                    return  # the rest of the body is a branch of this condition
                continue
            for inner in _bodies(statement):
                yield from self._in_body(inner)

    def _calls(
        self, body: Sequence[ast.stmt], seen: frozenset[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        """Yield (name, line) of the collectives that `body` calls, also through the script's functions."""
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
        """Return the name of a call that all ranks must make; None for others, and for one on a group."""
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

    def _ranks(self, test: ast.expr) -> _Ranks | None:
        """Return which ranks a condition lets through; None if it does not test the rank."""
        if self._is_rank(test):
            return _Ranks.OTHERS  # `if rank:`
        match test:
            case ast.BoolOp(op=ast.And(), values=values):
                return next(filter(None, map(self._ranks, values)), None)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._ranks(operand)
                return inner and inner.rest
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if self._is_rank(left):
                return _compared(operator, right)
            case ast.Call(func=(ast.Name() | ast.Attribute()) as function):
                return self._ranks(function)
            case ast.Name() | ast.Attribute() if _IS_FIRST.match(_last(test)):
                return _Ranks.FIRST if self._has_local_ranks or "local" not in _last(test) else None
        return None

    def _is_rank(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="int"), args=[inner]):
                return self._is_rank(inner)
            case (  # os.environ["RANK"], os.environ.get("RANK")
                ast.Subscript(slice=ast.Constant(value=str(name)))
                | ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_])
            ):
                pass
            case ast.Call(func=function):
                name = _last(function)  # dist.get_rank()
            case _:
                name = _last(node)
        if "local" in name.lower() and not self._has_local_ranks:
            return False  # it is 0 on every rank
        return _RANK.match(name) is not None


def _compared(operator: ast.cmpop, right: ast.expr) -> _Ranks | None:
    """Return which ranks pass `rank OPERATOR right`."""
    value = literal(right)
    if isinstance(value, list | tuple | set):
        known = isinstance(operator, ast.In | ast.NotIn) and 0 in value
    else:
        known = type(value) is int and (
            isinstance(operator, ast.Eq | ast.NotEq)
            or (isinstance(operator, ast.Gt) and value == 0)
            or (isinstance(operator, ast.Lt) and value == 1)
        )
    if not known:
        return None
    return _Ranks.FIRST if isinstance(operator, ast.Eq | ast.In | ast.Lt) else _Ranks.OTHERS


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
    return text if len(text) <= _MAX_CONDITION_CHARS else f"{text[: _MAX_CONDITION_CHARS - 1]}…"


def _last(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty for any other expression."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_of_transformers(code: Code, function: ast.expr) -> bool:
    return (code.name_of(function) or "").startswith("transformers.")
