"""How certain it is that a part of a script runs."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.script.flow import MAX_CHARS, Certainty, Code, Unreadable, read

MAYBE, LIKELY, SURE = Certainty.MAYBE, Certainty.LIKELY, Certainty.SURE


def certainty(text: str, *, main: bool = True) -> Certainty:
    """Return how certain the one call of `here()` in a script is."""
    code = read(text, main=main)
    assert isinstance(code, Code)
    (found,) = [how for _, name, how in code.calls() if name == "here"]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("here()", SURE),
        ("x = [here()]", SURE),
        ("with open('x') as f:\n    here()", SURE),
        ("if here():\n    pass", SURE),
        ("for x in here():\n    pass", SURE),
        ("try:\n    pass\nfinally:\n    here()", SURE),
        ("try:\n    here()\nexcept KeyboardInterrupt:\n    pass", SURE),
        ("class A:\n    x = here()", SURE),
        ("def main():\n    here()\nmain()", SURE),
        ("def main():\n    inner()\ndef inner():\n    here()\nmain()", SURE),
        ("async def main():\n    here()\nimport asyncio\nasyncio.run(main())", SURE),
        ("def main():\n    here()\nif __name__ == '__main__':\n    main()", SURE),
        ("def main():\n    here()", LIKELY),
        ("class A:\n    def run(self):\n        here()\nA().run()", LIKELY),
        ("import sys\nif len(sys.argv) > 1:\n    sys.exit(1)\nhere()", LIKELY),
        ("def main():\n    if 1:\n        return\n    here()\nmain()", LIKELY),
        ("def f():\n    here()\ndef f():\n    pass\nf()", LIKELY),
        ("if x:\n    here()", MAYBE),
        ("if x:\n    pass\nelse:\n    here()", MAYBE),
        ("for x in y:\n    here()", MAYBE),
        ("while True:\n    here()", MAYBE),
        ("try:\n    here()\nexcept ImportError:\n    pass", MAYBE),
        ("try:\n    here()\nexcept:\n    pass", MAYBE),
        ("try:\n    pass\nexcept ValueError:\n    here()", MAYBE),
        ("from contextlib import suppress\nwith suppress(Exception):\n    here()", MAYBE),
        ("x = lambda: here()", MAYBE),
        ("x = here() if y else 1", MAYBE),
        ("y and here()", MAYBE),
        ("[here() for x in y]", MAYBE),
        ("raise SystemExit\nhere()", MAYBE),
        ("import os\nos._exit(0)\nhere()", MAYBE),
        ("match x:\n    case 1:\n        here()", MAYBE),
        ("def main():\n    if x:\n        here()\nmain()", MAYBE),
    ],
)
def test_certainty_of_a_call_by_where_it_is(text: str, expected: Certainty) -> None:
    assert certainty(text) is expected


def test_certainty_of_a_main_guard_in_an_imported_module() -> None:
    text = "if __name__ == '__main__':\n    here()"
    assert certainty(text) is SURE
    assert certainty(text, main=False) is MAYBE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import torch.distributed as dist\ndist.barrier()", "torch.distributed.barrier"),
        ("from torch import distributed as dist\ndist.barrier()", "torch.distributed.barrier"),
        ("from torch.distributed import barrier as b\nb()", "torch.distributed.barrier"),
        ("import torch\ntorch.distributed.barrier()", "torch.distributed.barrier"),
        ("from .own import barrier\nbarrier()", "barrier"),
    ],
)
def test_calls_have_the_names_that_imports_give_them(text: str, name: str) -> None:
    code = read(text)
    assert isinstance(code, Code)
    assert [found for _, found, _ in code.calls()] == [name]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\nif x\n", 2, "expected ':'"),
        ("print 'old'", 1, "Missing parentheses"),
        ("x = 1\0", 1, "null byte"),
        ("(" * 5000, 1, ""),
        ("x = " + "+".join(["1"] * 50_000), 1, ""),
        ("#" * (MAX_CHARS + 1), 1, "longer"),
    ],
)
def test_read_of_an_invalid_script_has_line_and_reason(text: str, line: int, reason: str) -> None:
    found = read(text)
    assert isinstance(found, Unreadable)
    assert found.line == line
    assert reason in found.reason


def test_read_of_an_invalid_escape_does_not_warn() -> None:
    assert isinstance(read(r"x = '\d'"), Code)


@given(st.text())
def test_read_of_any_text_does_not_raise(text: str) -> None:
    assert isinstance(read(text), Code | Unreadable)


_LINES = st.sampled_from(
    ["if x:", "else:", "try:", "except E:", "finally:", "def f():", "f()", "class A:", "return",
     "with a as b:", "for x in y:", "while x:", "lambda: f()", "import a.b", "raise", "match x:",
     "case 1:", "x = [f() for f in g]", "async def g():", "await f()", "pass"]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), _LINES), max_size=25))
def test_read_gives_every_statement_a_certainty(lines: list[tuple[int, str]]) -> None:
    text = "\n".join("    " * indent + line for indent, line in lines)
    code = read(text)
    if isinstance(code, Code):
        statements = [node for node in ast.walk(code.tree) if isinstance(node, ast.stmt)]
        assert all(statement in code.certainty for statement in statements)
