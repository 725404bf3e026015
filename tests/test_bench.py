"""The benchmarks: arithmetic, report, command line and measuring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from benchkit import cli, quiet, report
from benchkit.measure import BenchError, cost
from benchkit.numbers import Bound, Result, Series, ratios
from hypothesis import given
from hypothesis import strategies as st
from labkit.lab import Lab

positive = st.floats(1e-6, 1e6)


def result(*values: float, limit: float) -> Result:
    return Result(
        "fanout",
        "many hosts",
        (Series("orch", "wall", "s", values), Series("pdsh", "wall", "s", (4.0,))),
        (Bound("orch: wall", "s", limit, values),),
        ("a note",),
    )


# -- numbers -----------------------------------------------------------------------------------


def test_ratios_compare_the_runs_of_each_round() -> None:
    assert ratios([1.0, 20.0], [2.0, 10.0]) == (0.5, 2.0)


def test_ratios_with_a_single_value_use_it_for_every_round() -> None:
    assert ratios([1.0, 2.0, 4.0], [2.0]) == (0.5, 1.0, 2.0)


def test_ratios_of_unequal_lengths_raise_value_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0, 3.0], [1.0, 2.0])


@given(st.lists(st.tuples(positive, positive), min_size=1), positive)
def test_ratios_do_not_change_on_a_slower_machine(
    rounds: list[tuple[float, float]], slower: float
) -> None:
    ours, theirs = zip(*rounds, strict=True)
    slowed = ratios([slower * our for our in ours], [slower * their for their in theirs])
    assert slowed == pytest.approx(ratios(ours, theirs))


@pytest.mark.parametrize(
    ("values", "limit", "met"),
    [((1.0, 1.9, 9.0), 2.0, True), ((2.0,), 2.0, True), ((0.1, 2.1, 2.2), 2.0, False)],
)
def test_bound_compares_the_median_with_the_limit(
    values: tuple[float, ...], limit: float, met: bool
) -> None:
    assert Bound("wall", "s", limit, values).met is met


def test_result_is_met_if_all_bounds_are() -> None:
    good, bad = Bound("a", "s", 2.0, (1.0,)), Bound("b", "s", 2.0, (3.0,))
    assert Result("case", "", (), (good, good)).met
    assert not Result("case", "", (), (good, bad)).met


# -- report ------------------------------------------------------------------------------------


def test_table_has_every_tool_and_verdict() -> None:
    assert report.table(result(3.0, 1.0, 1.5, limit=2.0)) == (
        "fanout: many hosts\n"
        "\n"
        "  wall, s   median      min      max     runs\n"
        "  orch        1.50     1.00     3.00        3\n"
        "  pdsh        4.00     4.00     4.00        1\n"
        "\n"
        "  PASS  orch: wall  1.50 s (1.00 to 3.00), at most 2\n"
        "  - a note\n"
    )
    assert "  MISS  orch: wall  2.50 s" in report.table(result(2.5, limit=2.0))


@pytest.mark.parametrize(
    ("value", "shown"), [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")]
)
def test_table_shows_two_or_three_digits(value: float, shown: str) -> None:
    assert f"  {shown} s (" in report.table(result(value, limit=1.0))


def test_json_has_every_value_and_verdict() -> None:
    written = json.loads(json.dumps(report.to_json([result(3.0, 1.0, limit=2.0)], {"cores": 2})))
    assert written["machine"] == {"cores": 2}
    (case,) = written["cases"]
    assert (case["case"], case["met"]) == ("fanout", True)
    assert case["series"][0] == {
        "contender": "orch", "quantity": "wall", "unit": "s",
        "median": 2.0, "min": 1.0, "max": 3.0, "values": [3.0, 1.0],
    }  # fmt: skip
    assert case["bounds"][0] == {
        "what": "orch: wall", "unit": "s", "limit": 2.0, "value": 2.0,
        "min": 1.0, "max": 3.0, "met": True,
    }  # fmt: skip


def test_page_has_one_table_of_the_last_run_between_its_marks() -> None:
    marks = "before\n<!-- bench: written by scripts/bench --page -->\nold\n<!-- /bench -->\nafter\n"
    machine = {"cores": 2, "load": 0.13}
    page = report.on_page(marks, [result(3.0, 1.0, 1.5, limit=1.2)], machine)
    assert page.startswith("before\n<!-- bench") and page.endswith("\n<!-- /bench -->\nafter\n")
    assert "old" not in page and "load 0.1 at the start" in page
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| case | what | measured | at most |",
        "| --- | --- | --- | --- |",
        "| `fanout`: many hosts | wall, s | orch 1.50 (1.00 to 3.00), pdsh 4.00 |  |",
        "|  | orch: wall, s | 1.50 (1.00 to 3.00) | 1.2: missed |",
    ]
    assert report.on_page(page, [result(3.0, 1.0, 1.5, limit=1.2)], machine) == page


def test_performance_page_has_the_marks_of_the_bench() -> None:
    page = cli.PAGE.read_text(encoding="utf-8")
    assert report.on_page(page, [result(1.0, limit=2.0)], {"cores": 2, "load": 0.0}).count("\n") < (
        page.count("\n")
    )


def test_page_of_some_cases_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "--page"]) == 2
    assert "--page writes one run of all cases" in capsys.readouterr().err


# -- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "options", "code"), [(2.0, ["--check"], 0), (0.5, ["--check"], 1), (0.5, [], 0)]
)
def test_missed_bound_is_an_exit_code_with_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: float, options: list[str], code: int
) -> None:
    monkeypatch.setattr(cli, "_missing", lambda: None)
    monkeypatch.setattr(cli, "_measure", lambda *_: [result(1.0, limit=limit)])
    file = tmp_path / "numbers.json"
    assert cli.main(["fanout", "--json", str(file), *options]) == code
    assert json.loads(file.read_text())["cases"][0]["met"] is (limit == 2.0)


def test_failure_of_a_tool_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> list[Result]:
        raise BenchError("pdsh: exit code 1: no such host")

    monkeypatch.setattr(cli, "_missing", lambda: None)
    monkeypatch.setattr(cli, "_measure", measure)
    assert cli.main(["fanout"]) == 2
    assert "bench: pdsh: exit code 1: no such host" in capsys.readouterr().err


def test_missing_tools_are_reported_with_the_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    assert cli.main(["fanout"]) == 2
    assert "apt-get install --yes pdsh clustershell" in capsys.readouterr().err


def test_unknown_case_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fanuot"]) == 2
    assert "no such case: fanuot" in capsys.readouterr().err


# -- measuring ---------------------------------------------------------------------------------


class _LocalLab:
    """Runs commands like a lab, on this machine."""

    def popen(self, argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, **options)


def python(code: str, **options: Any) -> Any:
    return cost(cast(Lab, _LocalLab()), [sys.executable, "-c", code], **options)


def test_cost_includes_the_cpu_time_of_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    done = python(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint()"
    )
    assert 0.3 <= done.cpu < 3


def test_cost_has_the_time_of_the_awaited_output() -> None:
    done = python(
        "import time\nprint('noise', flush=True)\ntime.sleep(0.2)\nprint('wanted', flush=True)\n"
        "time.sleep(0.2)",
        until=b"wanted",
    )
    assert 0.2 <= done.first <= done.wall - 0.2
    assert done.head == b"noise\nwanted\n"


def test_cost_counts_all_bytes_and_keeps_the_first() -> None:
    done = python("print('x' * 300_000, end='')", until=b"x")
    assert (done.printed, len(done.head)) == (300_000, 64 << 10)


def test_cost_of_a_failed_command_raises_with_its_output() -> None:
    with pytest.raises(BenchError, match=r"(?s)exit code 3.*went wrong"):
        python("import sys\nprint('went wrong', file=sys.stderr)\nsys.exit(3)")


def test_cost_without_the_awaited_output_raises() -> None:
    with pytest.raises(BenchError, match="exit code 0 without printing 'wanted': something else"):
        python("print('something else')", until=b"wanted")


def test_cost_of_a_hanging_command_raises_after_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(BenchError, match=r"not done in 0\.5 s"):
        python("import time\ntime.sleep(100)", timeout=0.5)
    assert time.monotonic() - began < 20


def test_cost_of_a_hanging_command_with_closed_output_raises_too() -> None:
    with pytest.raises(BenchError, match=r"not done in 0\.5 s"):
        python("import os, time\nos.close(1)\ntime.sleep(100)", timeout=0.5)


def test_consumed_is_finer_than_a_clock_tick() -> None:
    mine = os.getpid()
    before, spent = quiet.consumed({mine})[mine], time.process_time()
    while time.process_time() - spent < 0.005:
        pass
    assert quiet.consumed({mine})[mine] - before >= 0.004
