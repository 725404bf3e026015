"""The HTML and the text of the values that a notebook shows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import orchestrator
from orchestrator.api.result import Result
from orchestrator.api.results import Results
from orchestrator.api.run import Run
from orchestrator.diagnose import Source, diagnose
from orchestrator.errors import OrchError
from orchestrator.preflight.model import Status
from orchestrator.ui import notebook
from orchestrator.util.frontend import Shown

from . import reports
from .test_html import HOSTILE, read
from .test_status import STRANGE, rank
from .test_status import run as status_of_run
from .test_verdict import WHY

RESULT = Result("a-run", 1, "failed", f"rank 1 failed {HOSTILE}", 4.2, WHY)


def shown(value: Shown) -> str:
    return read(value._repr_html_())


def pretty(value: Shown) -> str:
    printed: list[str] = []
    value._repr_pretty_(SimpleNamespace(text=printed.append), False)
    return "".join(printed)


def test_result_has_state_summary_cause_and_fix() -> None:
    text = shown(RESULT)
    assert "run a-run: failed, exit code 1" in text and "<script>" in text
    assert WHY.error in text and WHY.fix in text and WHY.command in text
    assert pretty(RESULT).startswith("run a-run: failed with exit code 1 after 4.2 s\n")
    assert "\x1b" not in pretty(RESULT)
    succeeded = Result("a-run", 0, "succeeded", "all 2 ranks succeeded", 4.2)
    assert shown(succeeded) == "run a-run: succeeded · took 4.2 sall 2 ranks succeeded"


def test_status_has_rows_of_ranks_and_absolute_times() -> None:
    text = shown(status_of_run(8, strange=STRANGE))
    assert "run a-run: running · 8 nodes, 56 ranks, torchrun · started 1970-01-01" in text
    assert "ago" not in text
    assert "ValueError: \ufffd[31mno" in text and "absent" in text


def test_status_of_many_ranks_has_few_rows() -> None:
    markup = status_of_run(1000)._repr_html_()
    assert markup is not None and markup.count("<tr>") < 30


def test_status_of_hostile_ranks_is_escaped() -> None:
    node = STRANGE["node5"]
    view = replace(
        status_of_run(1),
        nodes=(replace(node, ranks=(rank(0, last_line=HOSTILE),)),),
        summary=HOSTILE,
        verdict=replace(WHY, error=HOSTILE, fix=HOSTILE, lines=(HOSTILE, HOSTILE)),
    )
    assert shown(view).count("<script>") == 6


def test_report_has_problems_fixes_and_the_rest() -> None:
    report = reports.report(
        reports.result("ssh.login", reports.passed()),
        reports.result(
            "disk",
            reports.failed(HOSTILE, "node1", text="free space", commands=("rm x",)),
            reports.failed("is small", "node2", status=Status.WARN),
        ),
    )
    text = shown(report)
    assert text.startswith("preflight, full: 1 fail, 1 pass")
    assert "<script>" in text and "fix disk: free space" in text and "(on node1)rm x" in text
    assert "1 other finding" in text and "as it should be" in text
    assert pretty(report).splitlines()[-1] == "1 fail, 1 pass (3 nodes, full; -v shows all)"


def test_diagnosis_has_cause_and_fix() -> None:
    data = b"step 1\nOSError: [Errno 28] No space left on device <b>\n"
    found = diagnose([(Source("job.log"), [data])])
    text = shown(found)
    assert "the disk is full (likely) · job.log" in text and "<b>" in text
    assert "fix" in text and "orch preflight --only disk" in text
    assert pretty(found).splitlines()[0] == "the disk is full (likely) · job.log"
    assert shown(diagnose([])) == pretty(diagnose([])) == "no known problem found"


def test_results_have_a_row_for_each_rank_shortened(tmp_path: Path) -> None:
    class Fake(Results[Any]):
        run = "a-run"
        ranks = tuple(range(40))

        def __init__(self) -> None:
            pass

        def node_of(self, rank: int) -> str:
            return f"node{rank}"

        def rank(self, rank: int) -> Any:
            if rank == 2:
                raise OrchError("it is pickled")
            return {"loss": 0.5, "text": HOSTILE * 100}

    text = shown(Fake())
    assert text.startswith("run a-run: results of 40 ranks") and text.endswith("and 8 more ranks")
    assert "r2node2it is pickled" in text and "r31node31{'loss': 0.5" in text
    assert len(text) < 15_000


def test_run_that_was_removed_is_shown_as_its_repr(tmp_path: Path) -> None:
    run = Run(tmp_path / "gone")
    assert run._repr_html_() is None
    assert pretty(run) == "Run('gone')"


def test_value_shown_in_plain_python_needs_no_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert notebook.cell_display() is None
    assert json.dumps(orchestrator.Result("r", 0, "succeeded", "", 1.0)._repr_html_())


def test_ipython_in_a_terminal_has_no_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    shell: Any = SimpleNamespace()
    fake = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert notebook.cell_display() is None
