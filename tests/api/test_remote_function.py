"""A function on every rank of the embedded cluster, and its results."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import orchestrator as orch

pytestmark = pytest.mark.cluster

# As in a notebook, or a script that is run: pytest imports this file as a module that no node has.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Point:
    x: int
    who: str


class BadColumnError(Exception):
    def __init__(self, column: int, text: str) -> None:
        super().__init__(text)
        self.column = column


def run(function: Any, *args: Any, **options: Any) -> orch.Results[Any]:
    return orch.run(
        function, *args, **{"local": 2, "launcher": "direct", "preflight": "off", **options}
    )


def test_run_returns_the_values_of_all_ranks_and_prints_their_lines(
    empty_project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    factor = 7

    def train(a: int, *, b: int) -> Point:
        print("a is", a, flush=True)
        return Point(a * factor + b, os.environ["RANK"])

    results = run(train, 3, b=4, launcher="torchrun")
    assert list(results) == [Point(25, "0"), Point(25, "1")]
    assert results[1] == results.rank(1) == results.by_node["local1"][0]
    lines = capfd.readouterr().out.splitlines()  # a launcher may say more
    assert {"r0 local0 │ a is 3", "r1 local1 │ a is 3"} <= set(lines)


def test_exception_of_a_rank_is_raised_with_its_class_and_traceback(empty_project: Path) -> None:
    def train() -> str:
        if os.environ["RANK"] == "1":
            raise BadColumnError(7, "no such column")
        return "fine"

    with pytest.raises(BadColumnError, match="no such column") as caught:
        run(train, on_line=lambda line: None)
    error: Any = caught.value
    assert error.column == 7
    assert 'raise BadColumnError(7, "no such column")' in str(error.__cause__)
    assert dict(enumerate(error.results)) == {0: "fine"}
    assert error.others == {}
