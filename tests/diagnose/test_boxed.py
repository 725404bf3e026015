"""Tracebacks in the boxes of rich, printed by rich itself."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.traceback import Traceback

from orchestrator.diagnose import Diagnosis, Source, diagnose


def fail() -> None:
    raise ValueError("bad [batch] 7")


def chained() -> None:
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("step failed") from error


def boxed(*, width: int, safe_box: bool, chain: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, safe_box=safe_box, legacy_windows=safe_box)
    try:
        chained() if chain else fail()
    except (ValueError, RuntimeError) as error:
        trace = Traceback.from_exception(type(error), error, error.__traceback__)
        console.print(trace)
    return out.getvalue()


def read(text: str) -> Diagnosis:
    return diagnose([(Source("log"), [text.encode()])])


@pytest.mark.parametrize("width", [100, 160])
@pytest.mark.parametrize("safe_box", [False, True])
def test_boxed_traceback_gives_the_exception_and_its_line(width: int, safe_box: bool) -> None:
    verdict = read(f"starting\n{boxed(width=width, safe_box=safe_box)}\ndone\n").verdict
    assert verdict is not None and verdict.error is not None
    assert verdict.error.summary == "ValueError: bad [batch] 7"
    assert verdict.error.function == "fail"
    assert verdict.error.file is not None and verdict.error.file.endswith("test_boxed.py")


def test_chain_of_boxes_has_its_first_exception() -> None:
    verdict = read(boxed(width=100, safe_box=False, chain=True)).verdict
    assert verdict is not None and verdict.error is not None and verdict.error.because is not None
    assert verdict.error.type == "RuntimeError"
    assert verdict.error.because.summary == "ValueError: bad [batch] 7"


def test_box_with_rank_prefixes_gives_the_rank() -> None:
    lines = boxed(width=100, safe_box=False).splitlines()
    verdict = read("".join(f"[rank3]: {line}\n" for line in lines)).verdict
    assert verdict is not None and verdict.ranks == (3,)


def test_box_of_something_else_is_ignored() -> None:
    text = re.sub("Traceback", "Settings", boxed(width=100, safe_box=False))
    assert read(text.rpartition("╯")[0]).hits == ()
