"""No regular expression of orch takes long on any text; new ones are found automatically."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.diagnose import SIGNATURES
from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.remote.command.containers import DockerTransport, KubectlTransport
from tests.regexes import faults, hostile

ROOT = Path(orchestrator.__file__).parent
NEEDS_TORCH = "orchestrator.preflight.collectives.all_reduce"
MAX_SECONDS = 0.25  # seconds of CPU for one search
SHORT_TEXT = 1024  # for patterns that do not read the output of ranks

# Patterns made in functions, and why they are safe.
IN_FUNCTIONS = {
    "orchestrator.cli.script_words": "the name of an option of orch",
    "orchestrator.diagnose.site_patterns": "patterns of the site, refused if they may take long",
    "orchestrator.diagnose.site_signatures": "patterns that site_patterns has accepted",
    "orchestrator.diagnose.table": "the patterns of signatures, tested here",
    "orchestrator.logs.filter": "patterns of the user, searched with a time limit",
    "orchestrator.node.facts": "two literals of its callers",
    "orchestrator.node.probes.look": "literals of its callers",
    "orchestrator.preflight.collectives.failure": "kept in CAUSES, tested here",
    "orchestrator.remote.command.node": "a marker of hexadecimal digits",
    "orchestrator.remote.command.verdicts": "the patterns of reasons, tested here",
    "orchestrator.remote.grouped_errors": "names, addresses and lines to paste, each escaped",
    "orchestrator.remote.ssh.host_keys": "the patterns of a known_hosts file",
    "orchestrator.control.explain": "the number of a process",
    "orchestrator.control.node_evidence": "the number of a process",
    "orchestrator.slurm.job": "the id of a job, escaped, and literals of its callers",
    "orchestrator.sync.failure": "kept in the tables of causes, tested here",
    "orchestrator.sync.glob": "globs, written so that they cannot backtrack",
}
# Words of a command line, which is short.
ALLOWED = {"orchestrator.inventory.draft._WORD"}

ADVICE = """{name} may take very long on a hostile text: {faults}
  {pattern}
Write what cannot backtrack:
  (?>.*?word)     instead of  .*word     (not in orchestrator/node)
  [^"]{{0,400}}     instead of  .*         (a limit, or without the character that ends the text)
  \\d{{1,9}}        instead of  \\d+        (int() of it is limited, too)
"""


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
        if file.stem != "__main__":
            yield name.removesuffix(".__init__"), file


def patterns_in(value: object, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    """Yield the patterns in a value: itself, or its parts."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth > 4 or isinstance(value, type):
        return
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from patterns_in(item, depth + 1)
    elif isinstance(value, Mapping):
        yield from patterns_in(tuple(value.values()), depth + 1)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from patterns_in(getattr(value, field.name), depth + 1)


def calls(file: Path, *, in_functions: bool = False) -> Iterator[ast.Call]:
    """Yield the calls that take a pattern as text, or only those `in_functions`."""
    source = file.read_text()
    if not re.search(r"\bre\.", source):
        return
    tree: ast.AST = ast.parse(source)
    roots = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in (node for root in (roots if in_functions else [tree]) for node in ast.walk(root)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr != "escape"
        ):
            yield node


def compiled(call: ast.Call) -> re.Pattern[Any] | None:
    """Return the pattern of a call with its flags; None if it is not a literal."""
    text = call.args[0]
    if not isinstance(text, ast.Constant):
        return None
    flags = [each for each in call.args[1:] if ast.unparse(each).startswith("re.")]
    return re.compile(text.value, eval(ast.unparse(flags[0]), {"re": re}) if flags else 0)


@cache
def patterns() -> Mapping[str, re.Pattern[Any]]:
    """Return every pattern of orch by its location."""
    found: dict[str, re.Pattern[Any]] = {}
    seen: set[tuple[Any, int]] = set()

    def add(name: str, pattern: re.Pattern[Any]) -> None:
        if (pattern.pattern, pattern.flags) not in seen:
            seen.add((pattern.pattern, pattern.flags))
            number = sum(1 for other in found if other.partition("#")[0] == name)
            found[f"{name}#{number}" if number else name] = pattern

    for name, file in modules():
        module = None if name == NEEDS_TORCH else importlib.import_module(name)
        for variable, value in vars(module).items() if module else ():
            for pattern in patterns_in(value):
                add(f"{name}.{variable}", pattern)
        for call in calls(file):
            if (pattern_of_call := compiled(call)) is not None:
                add(f"{name}:{call.lineno}", pattern_of_call)
    for signature in SIGNATURES:
        for text in signature.patterns:
            add(f"signature {signature.id}", re.compile(text))
    for transport in (DockerTransport, KubectlTransport):
        for reason in transport.reasons:
            add(f"reason of {transport.name}", re.compile(reason.pattern, re.IGNORECASE))
    return found


def test_patterns_made_in_functions_are_accounted_for() -> None:
    """Patterns made at import are found in the variables of modules; functions may make others."""
    unknown = [
        f"{name}:{call.lineno}"
        for name, file in modules()
        for call in calls(file, in_functions=True)
        if compiled(call) is None and name not in IN_FUNCTIONS
    ]
    assert unknown == []


@pytest.mark.parametrize("name", patterns())
def test_pattern_cannot_backtrack_too_much(name: str) -> None:
    pattern = patterns()[name]
    found = faults(pattern)
    if found and name not in ALLOWED:
        pytest.fail(
            ADVICE.format(name=name, faults="; ".join(found), pattern=pattern.pattern),
            pytrace=False,
        )


@pytest.mark.parametrize("name", patterns())
def test_pattern_is_fast_on_hostile_text(name: str) -> None:
    pattern = patterns()[name]
    reads_output = name.startswith(("signature", "orchestrator.diagnose", "orchestrator.logs"))
    for text in hostile(pattern, MAX_TEXT if reads_output else SHORT_TEXT):
        searched = text.encode() if isinstance(pattern.pattern, bytes) else text
        assert min(_took(pattern, searched)) < MAX_SECONDS, text[:80]


def _took(pattern: re.Pattern[Any], text: Any) -> Iterator[float]:
    """Yield how long a search takes, up to three times unless one was fast enough."""
    for _ in range(3):
        started = time.process_time()
        pattern.search(text)
        yield time.process_time() - started
        if time.process_time() - started < MAX_SECONDS:
            return


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a*b?)*c",
        ".*x.*y",
        r"\S+\.so\S*:",
        r"(?:\w+\s?)+!",
        "a.*b(?!.*c.*d)",
        r"\d+\d+\d+x",
    ],
)
def test_faults_of_a_backtracking_pattern(pattern: str) -> None:
    assert faults(re.compile(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "a.*b",
        r"\d+\.\d+",
        "(?>.*?a).*b",
        r"(?:[^/]*+/)*?x",
        "[a-z]+=[0-9]+",
        r"a{1,9}.*b",
        r"\w+\b: .*x",
    ],
)
def test_faults_of_a_simple_pattern_are_empty(pattern: str) -> None:
    assert faults(re.compile(pattern)) == []
