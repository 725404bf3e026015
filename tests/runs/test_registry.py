"""The runs of this machine, among invalid and foreign folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import LaunchError, OrchError, UsageError
from orchestrator.remote.transports import SavedTransport, restore
from orchestrator.runs.outcome import State
from orchestrator.runs.record import Record
from orchestrator.runs.registry import (
    active_runs,
    all_runs,
    find_run,
    unless_pruned,
    unreadable_runs,
    untrusted_runs,
)
from orchestrator.runs.saved_run import Ending, load_run
from tests.runs.helpers import plan_of, record_in


def keep(root: Path, *names: str) -> None:
    """Create runs with these names, each a second later than the one before."""
    for n, name in enumerate(names):
        record_in(root, plan_of(1, run=name)).close()
        path = root / name / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "began": 1000.0 + n}))


def test_find_run_by_name_or_unique_prefix(tmp_path: Path) -> None:
    keep(tmp_path, "bold-otter", "bold-owl", "calm-fox")
    assert find_run("calm", tmp_path).run == "calm-fox"
    assert find_run("bold-ot", tmp_path).run == "bold-otter"
    with pytest.raises(UsageError, match=r"'bold' may be any of bold-otter, bold-owl"):
        find_run("bold", tmp_path)


def test_find_run_by_last_part(tmp_path: Path) -> None:
    keep(tmp_path, "train-lusab", "train-babad")
    assert find_run("lusab", tmp_path).run == "train-lusab"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian-lusab", "train-lusab"), ("lusba", "train-lusab"), ("evla", "eval-bipod")],
)
def test_find_run_suggests_the_nearest_name(tmp_path: Path, typed: str, meant: str) -> None:
    keep(tmp_path, "train-lusab", "eval-bipod")
    with pytest.raises(UsageError, match=f"no run {typed!r} .did you mean {meant!r}"):
        find_run(typed, tmp_path)


def test_active_runs_have_not_ended(tmp_path: Path) -> None:
    keep(tmp_path, "train-lusab", "train-babad", "eval-bipod")
    path = tmp_path / "train-babad" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "ended", "exit_code": 0}))
    assert [saved.run for saved in active_runs(None, tmp_path)] == ["eval-bipod", "train-lusab"]
    assert [saved.run for saved in active_runs("train", tmp_path)] == ["train-lusab"]
    assert active_runs("babad", tmp_path) == []


def test_find_run_prefers_the_exact_name(tmp_path: Path) -> None:
    keep(tmp_path, "a", "ab")
    assert find_run("a", tmp_path).run == "a"


def test_find_run_without_name_is_the_latest(tmp_path: Path) -> None:
    keep(tmp_path, "b", "a", "c")
    assert [saved.run for saved in all_runs(tmp_path)] == ["c", "a", "b"]
    assert find_run(None, tmp_path).run == find_run("latest", tmp_path).run == "c"


def test_ambiguous_name_lists_some_runs(tmp_path: Path) -> None:
    keep(tmp_path, *(f"run-{n}" for n in range(7)))
    with pytest.raises(UsageError, match=r"run-4, \.\.\."):
        find_run("run", tmp_path)


@pytest.mark.parametrize("name", ["nothing", "../x", "..", ".", "/", "a/run.json", "a\0", "*"])
def test_find_run_of_unknown_name_is_an_error(tmp_path: Path, name: str) -> None:
    keep(tmp_path / "runs", "a")
    keep(tmp_path, "x")
    with pytest.raises(UsageError, match="there is no run"):
        find_run(name, tmp_path / "runs")


@pytest.mark.parametrize("name", [None, "latest"])
def test_find_run_without_runs_says_how_to_start_one(tmp_path: Path, name: str | None) -> None:
    for root in (tmp_path, tmp_path / "no such folder"):
        assert all_runs(root) == []
        assert unreadable_runs(root) == []
        with pytest.raises(UsageError, match="there is no run yet"):
            find_run(name, root)


def test_unreadable_run_is_left_out_and_reported_by_name(tmp_path: Path) -> None:
    keep(tmp_path, "good")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"run": "to')
    (tmp_path / "odd" / "run.json").mkdir(parents=True)  # a folder in place of a file
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert [saved.run for saved in all_runs(tmp_path)] == ["good"]
    assert sorted(folder.name for folder in unreadable_runs(tmp_path)) == ["empty", "odd", "torn"]
    assert find_run(None, tmp_path).run == "good"
    with pytest.raises(UsageError, match=r"torn has no record of a run that can be read"):
        find_run("to", tmp_path)


def test_unreadable_run_makes_no_name_ambiguous(tmp_path: Path) -> None:
    keep(tmp_path, "bold-owl")
    (tmp_path / "bold-otter").mkdir()
    assert find_run("bold", tmp_path).run == "bold-owl"


def test_file_in_place_of_the_runs_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for ask in (all_runs, unreadable_runs, lambda root: find_run(None, root)):
        with pytest.raises(OrchError, match=r"cannot be read: .*runs: Not a directory"):
            ask(tmp_path / "runs")


# -- one run's record ---------------------------------------------------------------------------


def test_run_is_read_as_written(tmp_path: Path) -> None:
    plan = plan_of(2, 1, run="a")
    record = record_in(tmp_path, plan, script=("t.py", "--x"), lease=5.0)
    saved = load_run(tmp_path / "a")
    assert saved is not None
    assert (saved.run, saved.state, saved.has_ended, saved.ended) == ("a", "starting", False, None)
    assert (saved.settings, saved.exit_code, saved.missing) == (record.settings, None, ())
    assert saved.plan.expected_ranks == plan.expected_ranks
    assert saved.logs == tmp_path / "a" / "logs"
    assert saved.controller is not None
    assert (saved.controller.pid, saved.controller.background) == (os.getpid(), False)
    record.write_state("ended", Ending(exit_code=3, summary="it failed", missing=("n1",)))
    record.close()
    saved = load_run(tmp_path / "a")
    assert saved is not None
    assert (saved.state, saved.has_ended, saved.exit_code) == ("ended", True, 3)
    assert (saved.summary, saved.missing, saved.controller) == ("it failed", ("n1",), None)
    assert saved.ended is not None


@pytest.mark.parametrize(
    ("state", "has_ended"),
    [("starting", False), ("running", False), ("ended", True), ("failed", True)],
)
def test_run_that_could_not_be_started_has_ended(
    tmp_path: Path, state: State, has_ended: bool
) -> None:
    record = record_in(tmp_path)
    record.write_state(state)
    record.close()
    saved = load_run(tmp_path / "r")
    assert saved is not None
    assert saved.has_ended == has_ended


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each position in a JSON value."""
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
def test_record_with_any_invalid_value_is_none_or_usable(tmp_path: Path, by: object) -> None:
    options = {"timeout": 2.0, "accept_new": True}
    record_in(tmp_path, script=("t.py",), transport=SavedTransport("ssh", options)).close()
    path = tmp_path / "r" / "run.json"
    whole = json.loads(path.read_text())
    for place in leaves(whole):
        path.write_text(json.dumps(replaced(whole, place, by)))
        saved = load_run(path.parent)
        if saved is None:
            continue
        # What listing and controlling runs do with it.
        assert all(isinstance(0 in node.ranks, bool) for node in saved.plan.nodes)
        assert isinstance(saved.plan.restarts_itself, bool)
        assert isinstance(" ".join([saved.run, saved.state, saved.summary, *saved.missing]), str)
        assert isinstance(" ".join(saved.settings.script), str)
        assert isinstance(saved.began + sum(saved.settings.skews.values()), float)
        with suppress(LaunchError):
            assert restore(saved.settings.transport).timeout > 0


@pytest.mark.parametrize("without", ["began", "state", "plan", "settings", "missing", "exit_code"])
def test_record_without_a_required_field_is_none(tmp_path: Path, without: str) -> None:
    record_in(tmp_path).close()
    path = tmp_path / "r" / "run.json"
    whole = json.loads(path.read_text())
    del whole[without]
    path.write_text(json.dumps(whole))
    assert load_run(path.parent) is None


def test_run_removed_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.close()
    (saved,) = all_runs(tmp_path)
    with pytest.raises(FileNotFoundError), unless_pruned(saved):
        (saved.logs / "missing").read_bytes()
    shutil.rmtree(saved.folder)
    with pytest.raises(OrchError, match="was removed while it was read"), unless_pruned(saved):
        (saved.logs / "missing").read_bytes()


# -- foreign runs -------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")
OTHER = 1234


@as_root
@pytest.mark.parametrize("whose", ["theirs", "theirs/run.json"])
def test_run_of_another_owner_is_left_out_and_refused_by_name(tmp_path: Path, whose: str) -> None:
    keep(tmp_path, "ours", "theirs")
    os.chown(tmp_path / whose, OTHER, OTHER)
    assert [saved.run for saved in all_runs(tmp_path)] == ["ours"]
    assert find_run(None, tmp_path).run == "ours"
    assert (
        unreadable_runs(tmp_path) == []
    )  # unreadable runs are removed some day; foreign ones are not
    (error,) = untrusted_runs(tmp_path)
    assert (error.path, f"belongs to uid {OTHER}" in error.why) == (str(tmp_path / whose), True)
    with pytest.raises(OrchError, match=f"run theirs is ignored: .*uid {OTHER}") as caught:
        find_run("th", tmp_path)
    assert f"chown -hR 0 {tmp_path / whose}" in str(caught.value)


@as_root
def test_find_run_with_only_foreign_runs_names_one(tmp_path: Path) -> None:
    keep(tmp_path, "theirs")
    os.chown(tmp_path / "theirs", OTHER, OTHER)
    with pytest.raises(OrchError, match="run theirs is ignored"):
        find_run(None, tmp_path)


@as_root
def test_link_of_another_owner_to_a_run_is_left_out(tmp_path: Path) -> None:
    keep(tmp_path / "elsewhere", "a")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/a").symlink_to(tmp_path / "elsewhere/a")
    assert [saved.run for saved in all_runs(tmp_path / "runs")] == ["a"]
    os.lchown(tmp_path / "runs/a", OTHER, OTHER)
    assert all_runs(tmp_path / "runs") == []
    assert len(untrusted_runs(tmp_path / "runs")) == 1


@pytest.mark.parametrize("place", ["a", "a/run.json"])
def test_run_that_others_can_write_to_is_left_out(tmp_path: Path, place: str) -> None:
    keep(tmp_path, "a")
    (tmp_path / place).chmod(0o777)
    assert all_runs(tmp_path) == []
    with pytest.raises(OrchError, match="can be written by everybody") as caught:
        find_run("a", tmp_path)
    assert f"chmod go-w {tmp_path / place}" in str(caught.value)
    (tmp_path / place).chmod(0o700)
    assert find_run("a", tmp_path).run == "a"


@as_root
def test_run_with_an_exchanged_folder_is_not_reopened(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    saved = find_run("a", tmp_path)
    os.chown(tmp_path / "a", OTHER, OTHER)
    with pytest.raises(LaunchError, match="run a is ignored"):
        Record.reopen(saved)


@as_root
def test_untrusted_record_can_be_read_on_request(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    os.chown(tmp_path / "a/run.json", OTHER, OTHER)
    assert load_run(tmp_path / "a") is None
    assert load_run(tmp_path / "a", allow_untrusted=True) is not None


def test_runs_in_a_world_writable_folder_are_not_read(tmp_path: Path) -> None:
    keep(tmp_path / "shared/runs", "a")
    (tmp_path / "shared").chmod(0o777)
    for ask in (all_runs, unreadable_runs, untrusted_runs):
        with pytest.raises(OrchError, match="shared can be written by everybody"):
            ask(tmp_path / "shared/runs")


def test_record_in_no_regular_file_is_no_run(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    path = tmp_path / "a/run.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert load_run(tmp_path / "a") is None
    path.unlink()
    os.mkfifo(path)
    assert load_run(tmp_path / "a") is None


def test_unreadable_lock_is_an_error(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    saved = find_run("a", tmp_path)
    (tmp_path / "a/controller.lock").unlink()
    os.mkfifo(tmp_path / "a/controller.lock")
    with pytest.raises(OrchError, match="the lock of run a cannot be read"):
        _ = saved.controller
