"""Parse a script, and tell how certain it is that each of its parts runs."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

MAX_CHARS = 1 << 20
"""A longer script is not parsed."""

_HARMLESS_HANDLERS = {"KeyboardInterrupt", "SystemExit"}
_EXITS = {"exit", "quit", "sys.exit", "os._exit"}

_DEFERRED = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Certainty(IntEnum):
    """Whether a part runs: under a condition, unless the script exits before it, or always."""

    MAYBE = 0
    LIKELY = 1
    SURE = 2


@dataclass(frozen=True)
class Unreadable:
    """Why a script cannot be parsed here, and at which line (from 1)."""

    line: int
    reason: str


@dataclass(frozen=True)
class Code:
    """A parsed script: its tree, how certain each node runs, and {name: full name} of its imports."""

    tree: ast.Module
    certainty: dict[ast.AST, Certainty]
    aliases: dict[str, str]

    def nodes(self) -> Iterator[tuple[ast.AST, Certainty]]:
        """Yield the nodes in source order."""
        found = [(node, how) for node, how in self.certainty.items() if hasattr(node, "lineno")]
        yield from sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))  # type: ignore[attr-defined]

    def calls(self) -> Iterator[tuple[ast.Call, str, Certainty]]:
        """Yield each call with the full name of what it calls: `torch.distributed.barrier`."""
        for node, how in self.nodes():
            if isinstance(node, ast.Call) and (name := self.name_of(node.func)):
                yield node, name, how

    def name_of(self, node: ast.AST) -> str | None:
        """Return the full dotted name, resolved by the imports; None for any other expression."""
        dotted = _dotted(node)
        if dotted is None:
            return None
        first, dot, rest = dotted.partition(".")
        return self.aliases.get(first, first) + dot + rest


def read(text: str, *, main: bool = True) -> Code | Unreadable:
    """Parse a script (`main`), or a module that a script imports."""
    if len(text) > MAX_CHARS:
        return Unreadable(1, f"it is longer than {MAX_CHARS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the script's strings
            tree = ast.parse(text)
        flow = _Flow(main)
        flow.run(tree)
    except SyntaxError as error:
        return Unreadable(error.lineno or 1, error.msg)
    except ValueError as error:
        return Unreadable(1, str(error))
    except (RecursionError, MemoryError):
        return Unreadable(1, "it is nested too deeply")
    return Code(tree, flow.certainty, _aliases(tree))


class _Flow:
    """Walk a module in the order in which Python runs it."""

    def __init__(self, main: bool) -> None:
        self.certainty: dict[ast.AST, Certainty] = {}
        self._main = main
        self._functions: dict[str, list[Function]] = {}
        self._methods: list[Function] = []
        self._called: list[str] = []

    def run(self, tree: ast.Module) -> None:
        self._body(tree.body, Certainty.SURE)
        walked: set[str] = set()
        while self._called:  # by code that surely runs; they may call others
            name = self._called.pop()
            defined = self._functions.get(name, [])
            if name not in walked and len(defined) == 1:
                walked.add(name)
                self._body(defined[0].body, Certainty.SURE)
        while rest := self._pending(walked):
            for function in rest:
                self._body(function.body, Certainty.LIKELY)

    def _pending(self, walked: set[str]) -> list[Function]:
        rest = [f for name in set(self._functions) - walked for f in self._functions[name]]
        walked.update(self._functions)
        rest += self._methods
        self._methods = []
        return [function for function in rest if function.body[0] not in self.certainty]

    def _body(self, body: Sequence[ast.stmt], how: Certainty) -> None:
        for statement in body:
            self._statement(statement, how)
            if leaves(statement):
                how = Certainty.MAYBE
            elif any(leaves(inner) for inner in _inside(statement)):
                how = min(how, Certainty.LIKELY)

    def _statement(self, node: ast.stmt, how: Certainty) -> None:
        self.certainty[node] = how
        maybe = Certainty.MAYBE
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._functions.setdefault(node.name, []).append(node)
                self._expressions([*node.decorator_list, node.args], how)
            case ast.ClassDef():
                self._expressions([*node.decorator_list, *node.bases, *node.keywords], how)
                methods = [s for s in node.body if isinstance(s, Function)]
                self._methods += methods
                self._body([s for s in node.body if s not in methods], how)
            case ast.If():
                self._expressions([node.test], how)
                mains = _is_main_guard(node.test)
                self._body(node.body, how if mains and self._main else maybe)
                self._body(node.orelse, how if mains and not self._main else maybe)
            case ast.For() | ast.AsyncFor():
                self._expressions([node.iter, node.target], how)
                self._body([*node.body, *node.orelse], maybe)
            case ast.While():
                self._expressions([node.test], how)
                self._body([*node.body, *node.orelse], maybe)
            case ast.With() | ast.AsyncWith():
                self._expressions(node.items, how)
                suppressing = any("suppress" in ast.unparse(i.context_expr) for i in node.items)
                self._body(node.body, maybe if suppressing else how)
            case ast.Try() | ast.TryStar():
                names = [h.type and _dotted(h.type) for h in node.handlers]
                harmless = _HARMLESS_HANDLERS.issuperset(names)
                self._body(node.body, how if harmless else maybe)
                self._body(node.orelse, min(how, Certainty.LIKELY) if harmless else maybe)
                for handler in node.handlers:
                    self._body(handler.body, maybe)
                self._body(node.finalbody, how)
            case ast.Match():
                self._expressions([node.subject], how)
                for case in node.cases:
                    self._body(case.body, maybe)
            case _:
                self._expressions(ast.iter_child_nodes(node), how)

    def _expressions(self, nodes: Iterable[ast.AST], how: Certainty) -> None:
        for node in nodes:
            self.certainty[node] = how
            always: Iterable[ast.AST] = ast.iter_child_nodes(node)
            maybe: Iterable[ast.AST] = ()
            if isinstance(node, _DEFERRED):
                always, maybe = (), always
            elif isinstance(node, ast.IfExp):
                always, maybe = [node.test], [node.body, node.orelse]
            elif isinstance(node, ast.BoolOp):
                always, maybe = node.values[:1], node.values[1:]
            if how is Certainty.SURE and isinstance(node, ast.Call):
                self._called += [node.func.id] if isinstance(node.func, ast.Name) else []
            self._expressions(always, how)
            self._expressions(maybe, Certainty.MAYBE)


def _inside(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield the statements in a compound one, except those of functions and classes."""
    if isinstance(statement, Function | ast.ClassDef):
        return
    for node in ast.iter_child_nodes(statement):
        for child in [node] if isinstance(node, ast.stmt) else ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield child
                yield from _inside(child)


def leaves(statement: ast.stmt) -> bool:
    """Return whether nothing after this statement runs, at least in its block."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return _dotted(statement.value.func) in _EXITS
    return isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break)


def _is_main_guard(test: ast.expr) -> bool:
    return ast.unparse(test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _dotted(node: ast.AST) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return {name in the script: full name} of everything that is imported anywhere in it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found
