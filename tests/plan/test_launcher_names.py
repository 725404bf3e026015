"""Launchers are compared by name only in plan/launchers/; elsewhere, by what the object can do."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from orchestrator.plan.launchers.registry import BUILT_IN
from tests.test_rooms import ROOT, sources

_FOREIGN = "commands of other launchers"
_INTERPRETER = "`python` is the interpreter here"
_NVLINK = "`fabric` connects GPUs here"

# Where a constant equal to a launcher's name has another meaning.
ALLOWED = {
    ("api/nodes.py", "python"): _INTERPRETER,
    ("cli/commands.py", "torchrun"): _FOREIGN,
    ("api/other_launchers.py", "accelerate"): _FOREIGN,
    ("api/other_launchers.py", "deepspeed"): _FOREIGN,
    ("api/other_launchers.py", "fabric"): _FOREIGN,
    ("api/other_launchers.py", "python"): _FOREIGN,
    ("api/other_launchers.py", "torchrun"): _FOREIGN,
    ("api/defaults/keys.py", "python"): _INTERPRETER,
    ("api/executor.py", "direct"): "a call has one rank, which needs no launcher",
    ("api/hosts.py", "python"): _INTERPRETER,
    ("api/program.py", "python"): _INTERPRETER,
    ("inventory/problems.py", "python"): "a key of the inventory",
    ("node/facts.py", "python"): _INTERPRETER,
    ("node/probes/gpu.py", "fabric"): _NVLINK,
    ("node/probes/look.py", "python"): _INTERPRETER,
    ("preflight/gpus/nvlink.py", "fabric"): _NVLINK,
    ("preflight/script/collectives.py", "fabric"): "what scripts call their Fabric object",
    ("preflight/software/versions.py", "python"): _INTERPRETER,
    ("ui/nodes.py", "python"): _INTERPRETER,
}


def names_in(code: str) -> Iterator[str]:
    """Yield the names of launchers that are constants in `code`.

    `python`, a common word, only if it is compared, matched or looked up.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and node.value in set(BUILT_IN) - {"python"}:
            yield str(node.value)
        for part in _looked_up(node):
            if isinstance(part, ast.Constant) and part.value == "python":
                yield "python"


def _looked_up(node: ast.AST) -> list[ast.expr | None]:
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Dict():
            return list(node.keys)
        case ast.Subscript():
            return [node.slice]
        case ast.MatchValue():
            return [node.value]
        case ast.Tuple() | ast.List() | ast.Set():
            return list(node.elts)
    return []


def test_launcher_names_appear_only_in_their_package() -> None:
    found = {
        (str(source.relative_to(ROOT)), name)
        for source in sources()
        if not source.is_relative_to(ROOT / "plan" / "launchers")
        for name in names_in(source.read_text())
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "plan.launcher == {!r}",
        "plan.launcher != {!r}",
        "{!r} in names",
        "plan.launcher not in ({!r}, 'x')",
        "USUAL = {{{!r}}}",
        "NEEDS = {{{!r}: ('torch',)}}",
        "NEEDS[{!r}]",
        "match plan.launcher:\n    case {!r}: pass",
        "match plan.launcher:\n    case 'x' | {!r}: pass",
    ],
)
@pytest.mark.parametrize("name", BUILT_IN)
def test_comparison_of_a_name_is_found(name: str, code: str) -> None:
    assert name in names_in(code.format(name))
