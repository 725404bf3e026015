"""Causes of a failure that lie in files: not sent to a node, or left there by an earlier run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.control.explain import explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.remote.reports import ProcessEnd
from orchestrator.runs.event_log import EventLog
from orchestrator.runs.folder import EVENTS
from orchestrator.runs.state import state_of
from tests.runs.helpers import ENDED, OK, TERM, plan_of, rank

FAILED = ProcessEnd(1, None)
MISSING = "FileNotFoundError: [Errno 2] No such file or directory: '{path}'"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("exp/data/train.bin", "exp/conf.json", "exp/scripts/x.py", "beside.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "exp/.gitignore").write_text("data/\n")
    return tmp_path / "exp"


def explained(source: Path, path: str, folder: str = "") -> tuple[str, str, str]:
    """Return cause, fix and check of a rank that did not find `path`."""
    plan = plan_of(2, folder=folder)
    logs = source.parent / "logs"
    (logs / "n0/attempt-0").mkdir(parents=True, exist_ok=True)
    error = MISSING.format(path=path.replace("WORKDIR", plan.nodes[0].workdir))
    traceback = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{error}\n'
    (logs / "n0/attempt-0/rank-0.err").write_text(traceback)
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED, 4.0), 1: rank(1, TERM, 5.0)}, ENDED)}
    found = explain(plan, nodes, FirstFailure("n0", 0, FAILED), logs, NodeEvidence(), source)
    return found.cause, found.fix, found.check


@pytest.mark.parametrize("path", ["data/train.bin", "./data/train.bin", "WORKDIR/data/train.bin"])
def test_file_left_out_by_an_ignore_file_is_explained_with_its_line(
    source: Path, path: str
) -> None:
    cause, fix, check = explained(source, path)
    assert cause.endswith("is here but not sent to the nodes, left out by .gitignore:1 (data/)")
    assert (fix, check) == ("add to .orchignore: !/data/", "")


def test_file_above_the_folder_is_explained(source: Path) -> None:
    cause, fix, _ = explained(source, "../beside.bin")
    assert "outside" in cause
    assert "--sync" in fix


def test_path_is_relative_to_the_folder_of_the_ranks(source: Path) -> None:
    assert explained(source, "../data/train.bin", "scripts")[1] == "add to .orchignore: !/data/"


def test_missing_module_of_the_project_gets_a_python_path(source: Path) -> None:
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
        failure = FirstFailure("n0", 0, FAILED)
        found = explain(plan_of(1), nodes, failure, source.parent / "logs", NodeEvidence(), source)
        assert fix in found.fix


@pytest.mark.parametrize("path", ["gone.bin", "/data/imagenet", "conf.json"])
def test_missing_file_that_was_sent_or_is_not_here_keeps_its_cause(source: Path, path: str) -> None:
    cause, fix, check = explained(source, path)
    assert cause == f"{path} is not on this node"
    assert ("shared storage" in fix, check) == (True, "shared")


def test_missing_file_without_a_folder_keeps_its_cause(source: Path) -> None:
    logs = source.parent / "logs"
    explained(source, "data/train.bin")
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED, 4.0), 1: rank(1, TERM, 5.0)}, ENDED)}
    found = explain(plan_of(2), nodes, FirstFailure("n0", 0, FAILED), logs, NodeEvidence())
    assert found.cause == "data/train.bin is not on this node"


# -- files that only some nodes have -----------------------------------------------------------------

UNEVEN = events.Uneven("snapshot.pt", ("n0",), ("n1", "n2"))
LOST_A_PEER = (
    "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:5"
)
OWN_MISTAKE = "ValueError: bad sample 17"


def explained_peer(tmp_path: Path, said: str, *uneven: events.Uneven) -> tuple[str, str]:
    """Return cause and fix of rank 1, which failed with this error after rank 0 had ended."""
    logs = tmp_path / "n1/attempt-0"
    logs.mkdir(parents=True)
    traceback = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{said}\n'
    (logs / "rank-1.err").write_text(traceback)
    nodes = {
        "n0": NodeState("n0", {0: rank(0, OK, 3.0)}, ENDED),
        "n1": NodeState("n1", {1: rank(1, FAILED, 4.0)}, ENDED),
    }
    found = explain(
        plan_of(1, 1), nodes, FirstFailure("n1", 1, FAILED), tmp_path, NodeEvidence(), uneven=uneven
    )
    return found.cause, found.fix


def test_lost_peer_is_explained_by_a_file_that_only_some_nodes_had(tmp_path: Path) -> None:
    cause, fix = explained_peer(tmp_path, LOST_A_PEER, UNEVEN)
    assert cause.startswith("snapshot.pt of an earlier run was on n0 and not on n[1-2]: ")
    assert fix.startswith("remove it on n0, copy it to n[1-2], or ")


@pytest.mark.parametrize("said", [OWN_MISTAKE, LOST_A_PEER])
def test_other_failure_is_not_explained_by_such_a_file(tmp_path: Path, said: str) -> None:
    files = (UNEVEN,) if said == OWN_MISTAKE else ()
    assert "snapshot.pt" not in " ".join(explained_peer(tmp_path, said, *files))


def test_uneven_files_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    log = EventLog(tmp_path / EVENTS)
    log.append(UNEVEN)
    assert state_of(tmp_path).uneven == [UNEVEN]
    log.append(events.Restarting(1, 2, "rank 1 failed"))
    assert state_of(tmp_path).uneven == []
    log.close()
