"""A file that a rank did not find, and that is here, where the job was launched."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.control.explain import NodeEvidence, explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.remote.reports import ProcessEnd
from tests.runs.helpers import ENDED, TERM, plan_of, rank

FAILED = ProcessEnd(1, None)
MISSING = "FileNotFoundError: [Errno 2] No such file or directory: '{path}'"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("exp/data/train.bin", "exp/conf.json", "exp/scripts/x.py", "beside.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "exp/.gitignore").write_text("data/\n")
    return tmp_path / "exp"


def told(source: Path, path: str, folder: str = "") -> tuple[str, str, str]:
    """Return cause, fix and check of a rank that did not find `path`."""
    plan = plan_of(2, folder=folder)
    logs = source.parent / "logs"
    (logs / "n0/attempt-0").mkdir(parents=True, exist_ok=True)
    error = MISSING.format(path=path.replace("WORKDIR", plan.nodes[0].workdir))
    traceback = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{error}\n'
    (logs / "n0/attempt-0/rank-0.err").write_text(traceback)
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED, 4.0), 1: rank(1, TERM, 5.0)}, ENDED)}
    explained = explain(plan, nodes, FirstFailure("n0", 0, FAILED), logs, NodeEvidence(), source)
    return explained.cause, explained.fix, explained.check


@pytest.mark.parametrize("path", ["data/train.bin", "./data/train.bin", "WORKDIR/data/train.bin"])
def test_file_that_an_ignore_file_left_out_is_told_with_the_line(source: Path, path: str) -> None:
    cause, fix, check = told(source, path)
    assert cause.endswith("is here but not sent to the nodes, left out by .gitignore:1 (data/)")
    assert (fix, check) == ("add to .orchignore: !/data/", "")


def test_file_above_the_folder_is_told(source: Path) -> None:
    cause, fix, _ = told(source, "../beside.bin")
    assert "outside" in cause
    assert "--sync" in fix


def test_path_is_looked_up_where_the_ranks_start(source: Path) -> None:
    assert told(source, "../data/train.bin", "scripts")[1] == "add to .orchignore: !/data/"


def test_module_of_the_project_that_is_not_found_is_not_to_be_installed(source: Path) -> None:
    (source / "libs").mkdir()
    (source / "libs/nets.py").touch()
    logs = source.parent / "logs/n0/attempt-0"
    logs.mkdir(parents=True)
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED, 4.0)}, ENDED)}
    for module, fix in (
        ("nets.a", "launch with --env PYTHONPATH=libs"),
        ("torch", "`python:` in the inv"),
    ):
        error = f"ModuleNotFoundError: No module named '{module}'"
        text = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{error}\n'
        (logs / "rank-0.err").write_text(text)
        first_failure = FirstFailure("n0", 0, FAILED)
        told = explain(
            plan_of(1), nodes, first_failure, source.parent / "logs", NodeEvidence(), source
        )
        assert fix in told.fix


@pytest.mark.parametrize("path", ["gone.bin", "/data/imagenet", "conf.json"])
def test_file_that_was_sent_or_is_not_here_either_is_told_as_ever(source: Path, path: str) -> None:
    cause, fix, check = told(source, path)
    assert cause == f"{path} is not on this node"
    assert ("shared storage" in fix, check) == (True, "shared")


def test_nothing_is_looked_up_where_no_folder_went(source: Path) -> None:
    logs = source.parent / "logs"
    told(source, "data/train.bin")
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED, 4.0), 1: rank(1, TERM, 5.0)}, ENDED)}
    explained = explain(plan_of(2), nodes, FirstFailure("n0", 0, FAILED), logs, NodeEvidence())
    assert explained.cause == "data/train.bin is not on this node"
