"""The runs that this machine knows of, whatever lies among them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import OrchError, UsageError
from orchestrator.runs.registry import all_runs, broken, find, unless_pruned
from orchestrator.runs.saved import read_saved
from tests.runs.helpers import plan_of, record_in


def keep(root: Path, *names: str) -> None:
    """Make runs of these names, each a second later than the one before."""
    for n, name in enumerate(names):
        record_in(root, plan_of(1, run=name)).close()
        path = root / name / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "began": 1000.0 + n}))


def test_a_whole_name_or_a_beginning_that_no_other_has_finds_a_run(tmp_path: Path) -> None:
    keep(tmp_path, "bold-otter", "bold-owl", "calm-fox")
    assert find("calm", tmp_path).run == "calm-fox"
    assert find("bold-ot", tmp_path).run == "bold-otter"
    with pytest.raises(UsageError, match=r"'bold' may be any of bold-otter, bold-owl"):
        find("bold", tmp_path)


def test_a_whole_name_goes_before_a_longer_one_that_begins_with_it(tmp_path: Path) -> None:
    keep(tmp_path, "a", "ab")
    assert find("a", tmp_path).run == "a"


def test_the_latest_comes_first_and_is_the_default(tmp_path: Path) -> None:
    keep(tmp_path, "b", "a", "c")
    assert [saved.run for saved in all_runs(tmp_path)] == ["c", "a", "b"]
    assert find(None, tmp_path).run == find("latest", tmp_path).run == "c"


def test_many_that_are_meant_are_not_all_listed(tmp_path: Path) -> None:
    keep(tmp_path, *(f"run-{n}" for n in range(7)))
    with pytest.raises(UsageError, match=r"run-4, \.\.\."):
        find("run", tmp_path)


@pytest.mark.parametrize("name", ["nothing", "../x", "..", ".", "/", "a/run.json", "a\0", "*"])
def test_a_name_that_no_run_has_is_told(tmp_path: Path, name: str) -> None:
    keep(tmp_path / "runs", "a")
    keep(tmp_path, "x")
    with pytest.raises(UsageError, match="there is no run"):
        find(name, tmp_path / "runs")


@pytest.mark.parametrize("name", [None, "latest"])
def test_where_there_is_no_run_yet_it_is_told_how_to_start_one(
    tmp_path: Path, name: str | None
) -> None:
    for root in (tmp_path, tmp_path / "no such folder"):
        assert all_runs(root) == []
        assert broken(root) == []
        with pytest.raises(UsageError, match="there is no run yet"):
            find(name, root)


def test_what_is_no_run_is_passed_over_and_told_by_name(tmp_path: Path) -> None:
    keep(tmp_path, "good")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"run": "to')
    (tmp_path / "odd" / "run.json").mkdir(parents=True)  # a folder where a file should be
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert [saved.run for saved in all_runs(tmp_path)] == ["good"]
    assert sorted(folder.name for folder in broken(tmp_path)) == ["empty", "odd", "torn"]
    assert find(None, tmp_path).run == "good"
    with pytest.raises(UsageError, match=r"torn holds no record of a run that can be read"):
        find("to", tmp_path)


def test_a_broken_folder_makes_no_name_ambiguous(tmp_path: Path) -> None:
    keep(tmp_path, "bold-owl")
    (tmp_path / "bold-otter").mkdir()
    assert find("bold", tmp_path).run == "bold-owl"


def test_a_file_where_the_runs_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for ask in (all_runs, broken, lambda root: find(None, root)):
        with pytest.raises(OrchError, match=r"cannot be read: .*runs: Not a directory"):
            ask(tmp_path / "runs")


# -- one run's record ---------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of(2, 1, run="a")
    record = record_in(tmp_path, plan, script=("t.py", "--x"), lease=5.0)
    saved = read_saved(tmp_path / "a")
    assert saved is not None
    assert (saved.run, saved.state, saved.has_ended, saved.ended) == ("a", "starting", False, None)
    assert (saved.settings, saved.exit_code, saved.missing) == (record.settings, None, ())
    assert saved.plan.expected_ranks == plan.expected_ranks
    assert saved.logs == tmp_path / "a" / "logs"
    assert saved.controller is not None
    assert (saved.controller.pid, saved.controller.background) == (os.getpid(), False)
    record.write_state("ended", exit_code=3, summary="it failed", missing=("n1",))
    record.close()
    saved = read_saved(tmp_path / "a")
    assert saved is not None
    assert (saved.state, saved.has_ended, saved.exit_code) == ("ended", True, 3)
    assert (saved.summary, saved.missing, saved.controller) == ("it failed", ("n1",), None)
    assert saved.ended is not None


@pytest.mark.parametrize(
    ("state", "has_ended"),
    [("starting", False), ("running", False), ("ended", True), ("failed", True)],
)
def test_a_run_that_could_not_be_started_has_ended_too(
    tmp_path: Path, state: str, has_ended: bool
) -> None:
    record = record_in(tmp_path)
    record.write_state(state)
    record.close()
    saved = read_saved(tmp_path / "r")
    assert saved is not None
    assert saved.has_ended == has_ended


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each place of a JSON value."""
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, *path, name)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from leaves(item, *path, n)


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


@pytest.mark.parametrize(
    "by",
    [None, True, 0, -1, 1e999, 10**400, "", "text", [], [0], {}, {"x": 0}],
    ids=lambda by: f"{by!r}"[:20],
)
def test_a_record_with_rubbish_in_any_place_is_none_or_a_run_that_can_be_used(
    tmp_path: Path, by: object
) -> None:
    record_in(tmp_path, script=("t.py",), embedded=None).close()
    path = tmp_path / "r" / "run.json"
    whole = json.loads(path.read_text())
    for place in leaves(whole):
        path.write_text(json.dumps(replaced(whole, place, by)))
        saved = read_saved(path.parent)
        if saved is None:
            continue
        # What is done with it by whoever lists runs, or minds one.
        assert all(isinstance(0 in node.ranks, bool) for node in saved.plan.nodes)
        assert isinstance(saved.plan.restarts_itself, bool)
        assert isinstance(" ".join([saved.run, saved.state, saved.summary, *saved.missing]), str)
        assert isinstance(" ".join(saved.settings.script), str)
        assert isinstance(saved.began + sum(saved.settings.skews.values()), float)


@pytest.mark.parametrize("without", ["run", "state", "plan", "settings", "missing", "exit_code"])
def test_a_record_that_lacks_something_is_none(tmp_path: Path, without: str) -> None:
    record_in(tmp_path).close()
    path = tmp_path / "r" / "run.json"
    whole = json.loads(path.read_text())
    del whole[without]
    path.write_text(json.dumps(whole))
    assert read_saved(path.parent) is None


def test_a_run_that_is_removed_while_it_is_read_is_told_as_that(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.close()
    (saved,) = all_runs(tmp_path)
    with pytest.raises(FileNotFoundError), unless_pruned(saved):
        (saved.logs / "missing").read_bytes()
    shutil.rmtree(saved.folder)
    with pytest.raises(OrchError, match="was removed while it was read"), unless_pruned(saved):
        (saved.logs / "missing").read_bytes()
