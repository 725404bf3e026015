"""A script's parts and how certain it is that they run, read without running anything."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

LONGEST = 1 << 20
"""Characters of a script; a longer one is not read."""

_HARMLESS_HANDLERS = {"KeyboardInterrupt", "SystemExit"}
_EXITS = {"exit", "quit", "sys.exit", "os._exit"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Certainty(IntEnum):
    """Whether a part runs: under a condition, unless the script leaves before, or whatever happens."""

    MAYBE = 0
    LIKELY = 1
    SURE = 2


@dataclass(frozen=True)
class Unreadable:
    """Why a script cannot be read here, and the line (1-based) where that shows."""

    line: int
    reason: str


@dataclass(frozen=True)
class Code:
    """A script that was read; `certainty` has every node of the tree, except those that never matter."""

    tree: ast.Module
    certainty: dict[ast.AST, Certainty]
    aliases: dict[str, str]

    def nodes(self) -> Iterator[tuple[ast.AST, Certainty]]:
        """Yield the nodes in the order of the text."""
        found = [(node, how) for node, how in self.certainty.items() if hasattr(node, "lineno")]
        yield from sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))  # type: ignore[attr-defined]

    def calls(self) -> Iterator[tuple[ast.Call, str, Certainty]]:
        """Yield each call, and the full name of what it calls: `torch.distributed.barrier`."""
        for node, how in self.nodes():
            if isinstance(node, ast.Call) and (name := self.name_of(node.func)):
                yield node, name, how

    def name_of(self, node: ast.AST) -> str | None:
        """Return the full dotted name, as the imports have it; None for what is no name."""
        dotted = _dotted(node)
        if dotted is None:
            return None
        first, dot, rest = dotted.partition(".")
        return self.aliases.get(first, first) + dot + rest


def read(text: str, *, main: bool = True) -> Code | Unreadable:
    """Read the text of a script (`main`), or of a module that one imports."""
    if len(text) > LONGEST:
        return Unreadable(1, "it is longer than a script")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings: the script's own affair
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
    """Walks from the first line the way that Python would."""

    def __init__(self, main: bool) -> None:
        self.certainty: dict[ast.AST, Certainty] = {}
        self._main = main
        self._functions: dict[str, list[Function]] = {}
        self._methods: list[Function] = []
        self._called: list[str] = []

    def run(self, tree: ast.Module) -> None:
        self._body(tree.body, Certainty.SURE)
        walked: set[str] = set()
        while self._called:  # what runs for sure calls these, and they may call others
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
                names = [_dotted(handler.type) for handler in node.handlers if handler.type]
                harmless = len(names) == len(node.handlers) and _HARMLESS_HANDLERS.issuperset(names)
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
                self._expressions(list(ast.iter_child_nodes(node)), how)

    def _expressions(self, nodes: Sequence[ast.AST], how: Certainty) -> None:
        for node in nodes:
            self.certainty[node] = how
            children = list(ast.iter_child_nodes(node))
            match node:
                case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp():
                    self._expressions(children, Certainty.MAYBE)
                case ast.GeneratorExp():
                    self._expressions(children, Certainty.MAYBE)
                case ast.IfExp():
                    self._expressions([node.test], how)
                    self._expressions([node.body, node.orelse], Certainty.MAYBE)
                case ast.BoolOp():
                    self._expressions(node.values[:1], how)
                    self._expressions(node.values[1:], Certainty.MAYBE)
                case _:
                    match node:
                        case ast.Call(func=ast.Name(id=name)) if how is Certainty.SURE:
                            self._called.append(name)
                    self._expressions(children, how)


def _inside(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield the statements in a compound one, except those of functions and classes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for node in ast.iter_child_nodes(statement):
        inner = [node] if isinstance(node, ast.stmt) else ast.iter_child_nodes(node)
        for child in inner:
            if isinstance(child, ast.stmt):
                yield child
                yield from _inside(child)


def leaves(statement: ast.stmt) -> bool:
    """Tell whether nothing after this statement runs, in its block at least."""
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
    """Return {name in the script: full name} of everything that is imported, wherever."""
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
