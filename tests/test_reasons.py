"""Messages are no protocol: no code compares or parses the text of a message; it has a value for that.

These tests parse the source. A message may be shown, joined and split into lines, but decides nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "orchestrator"
MESSAGE_ATTRIBUTES = frozenset(
    ["because", "cause", "detail", "error", "evidence", "gone", "stopped",
     "stopping", "message", "problem", "reason", "remedy", "summary", "text",
     "why"]
)  # fmt: skip
MESSAGE_VARIABLES = frozenset(["because", "cause", "message", "reason", "remedy", "summary", "why"])
METHODS = frozenset(
    ["count", "endswith", "find", "index", "partition", "removeprefix", "removesuffix", "rfind",
     "rindex", "rpartition", "startswith"]
)  # fmt: skip
PATTERNS = frozenset(["findall", "finditer", "fullmatch", "match", "search"])
SAME_TEXT = frozenset(["casefold", "lower", "rstrip", "lstrip", "strip", "splitlines", "split"])

ALLOWED = {
    # Messages of other programs, in a constant of the file that runs them.
    "_UNKNOWN_HOST in str(error)": "paramiko has one class for every failure of an SSH connection",
    "str(error).startswith(_ENCRYPTED)": "asyncssh has one class for every problem of a key file",
    "_UNKNOWN not in error.message": "scontrol has one exit code for every failure",
    "_CLOSED in error.reason": "asyncssh has one code for a refused session and a closed connection",
    "_REVOKED in str(error)": "asyncssh has one class for every problem of a host key",
    **dict.fromkeys(
        (
            f"_{name}.fullmatch(message)"
            for name in (
                "INTEGER", "AT_LEAST", "AT_MOST", "CHOICE", "NO_OPTION", "MISSING", "NO_VALUE", "TOO_MANY",
                "OTHER",
            )
        ),
        "click has one class for most mistakes on a command line",
    ),
    "_CLICK.search(found.error)": "Python's message for an import that failed",
    "_NO_MODULE.search(found.error)": "Python's message for an import that failed",
    # Records of older versions.
    "_TIME_LIMIT.match(summary)": "written by an earlier version",
    "_DETAIL.search(summary)": "written by an earlier version",
    # The same message twice, of which the second is dropped.
    "cause == self._away_cause": "a cause that was reported already",
    # Ids and enums in fields with such a name.
    **dict.fromkeys(
        (
            "cause.reason in UNASKED",
            "match self.reason:",
            "request.reason in PEOPLE",
            "self.reason in _WORDS",
            "self.why.reason not in UNASKED",
            "stop.reason in PEOPLE",
            "stop.reason in UNASKED",
            "stop.reason in _EXIT_CODES",
            "stop.why.reason in _EXIT_CODES",
            "stop.why.reason in _FAILURES",
        ),
        "a StopReason",
    ),
    **dict.fromkeys(
        (
            "failure.cause in (GONE, CONTAINER)",
            "failure.cause in _REFUSALS",
            "reason.cause == CONTAINER",
            "verdict.cause not in ('authentication', 'gateway')",
            "verdict.cause.startswith('host-key')",
        ),
        "the cause of an Unreachable is an id",
    ),
    "self.fault.cause not in _FILTERED": "the cause of a Fault is an enum",
    "match cause:": "the cause of a Fault is an enum",
    "pid in why": "a dict of reasons, by process",
    # The summary is how the run ended and then the detail, which is known.
    "event.summary.removesuffix(event.detail)": "to put the duration between them",
    # Input that orch reads: a script, a log.
    "self.text.endswith(b'\\r')": "a line that a rank printed",
    "text == self.text": "a line that a rank printed",
    "partial.text.removesuffix(b'\\r')": "a line that a rank printed",
    "_RELEVANT.search(line.text)": "a line of the kernel's log",
    "'torch' not in context.script.text": "the source of the user's script",
    "'.launch(' not in script.text": "the source of the user's script",
    # The position of a known value in a message, to replace it there.
    "re.search(re.escape(first.command) + _REMOTE_COMMAND, first.remedy)": "to make a loop of a command",
}  # fmt: skip


def comparisons(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every expression that depends on the text of a message."""
    for node in ast.walk(ast.parse(source)):
        if _decides(node):
            yield getattr(node, "lineno", 0), ast.unparse(node).partition("\n")[0]


def _decides(node: ast.AST) -> bool:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            compares = any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in ops)
            sides = [left, *others]
            return compares and any(map(_is_message, sides)) and not any(map(_is_member, sides))
        case ast.Call(func=ast.Attribute(value=value, attr=method), args=arguments):
            is_compared = method in METHODS and _is_message(value)
            return is_compared or (method in PATTERNS and any(map(_is_message, arguments)))
        case ast.Match(subject=subject, cases=cases):
            of_text = any(isinstance(case.pattern, ast.MatchValue | ast.MatchOr) for case in cases)
            return of_text and _is_message(subject)
    return False


def _is_message(node: ast.AST) -> bool:
    """Return whether the expression is a message or a part of one."""
    match node:
        case ast.Attribute(attr=name):
            return name in MESSAGE_ATTRIBUTES
        case ast.Name(id=name):
            return name in MESSAGE_VARIABLES
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
            return re.search(r"error|exc|failure|fault|problem|refusal|trouble", name) is not None
        case ast.Call(func=ast.Attribute(value=value, attr=method)):
            return method in SAME_TEXT and _is_message(value)
        case ast.Subscript(value=value):
            return _is_message(value)
    return False


def _is_member(node: ast.AST) -> bool:
    """Return whether the expression is a member of an enum (`Cause.SILENT`) or a tuple of them."""
    match node:
        case ast.Attribute(value=ast.Name(id=kind), attr=name):
            return kind[:1].isupper() and name.isupper()
        case ast.Tuple(elts=elements):
            return bool(elements) and all(map(_is_member, elements))
    return False


def _found() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for line, text in comparisons(path.read_text(encoding="utf-8")):
            found.setdefault(text, []).append(f"{path.relative_to(SOURCE)}:{line}: {text}")
    return found


def test_no_code_depends_on_the_text_of_a_message() -> None:
    assert [
        place for text, places in _found().items() if text not in ALLOWED for place in places
    ] == []


def test_every_exception_is_still_needed() -> None:
    assert sorted(ALLOWED.keys() - _found().keys()) == []


@pytest.mark.parametrize(
    "source",
    [
        'if error.message == "no answer": pass',
        'return "timed out" in verdict.summary',
        'ok = str(error).startswith("n0: ")',
        'text = error.message.removeprefix(f"{name}: ")',
        'name, colon, rest = error.text.partition(": ")',
        'if error.message.lower().endswith("refused"): pass',
        'first = error.message.splitlines()[0] == "x"',
        'found = re.match("stalled: ", event.reason)',
        "found = _STALLED.search(stop.why)",
        'return reason != "interrupted"',
        'if summary.startswith("timed out"): pass',
        'match event.cause:\n    case "broke": pass',
        'any(fault.message.startswith("torch ") for fault in faults)',
    ],
)
def test_expression_that_depends_on_a_message_is_found(source: str) -> None:
    assert list(comparisons(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "first = error.message.splitlines()[0]",
        'said = f"{error.node}: {error.text}"',
        "if error.remedy is None: pass",
        "if self.cause in (Cause.SILENT, Cause.CLOSED): pass",
        'if fault.kind == "torch": pass',
        "raise SyncError(error.text, node=error.node) from error",
        'if line.startswith("#"): pass',
    ],
)
def test_expression_that_shows_a_message_is_not_found(source: str) -> None:
    assert list(comparisons(source)) == []
