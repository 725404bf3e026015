"""What applied to a rank when it started."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import rank_setting
from orchestrator.node.probes import groups, setting

from .conftest import AgentProcess
from .ranks import tree, write_record

V1_PIDS = "37 35 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
V2 = "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("group", "mounts", "folder"),
    [
        ("0::/user/job\n", V2, "sys/fs/cgroup/user"),
        ("4:pids:/user/job\n0::/\n", V1_PIDS, "sys/fs/cgroup/pids/user"),
    ],
)
def test_refused_forks_of_all_groups_above_are_counted_since_the_start(
    tmp_path: Path, group: str, mounts: str, folder: str
) -> None:
    files = {"proc/self/cgroup": group, "proc/self/mountinfo": mounts}
    files |= {f"{folder}/job/pids.events": "max 1\n", f"{folder}/pids.events": "max 2\n"}
    root = tree(tmp_path, **files)
    known = rank_setting.RankSetting(root)
    assert known.at_end()["refused_forks"] == 0
    tree(tmp_path, **{f"{folder}/pids.events": "max 6\n"})
    assert known.at_end()["refused_forks"] == 4


def test_setting_without_control_groups_has_no_counts(tmp_path: Path) -> None:
    known = rank_setting.RankSetting(str(tmp_path))
    assert known.at_end() == {"oom_kills": None, "refused_forks": None}
    assert known.at_start()["groups"] == {"memory": None, "pids": None}


def test_tightest_group_of_processes_is_that_with_the_fewest_left(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        **{
            "cg/a/b/pids.max": "max\n", "cg/a/b/pids.current": "7\n",
            "cg/a/pids.max": "100\n", "cg/a/pids.current": "99\n",
            "cg/pids.max": "50\n", "cg/pids.current": "10\n",
        },
    )  # fmt: skip
    assert groups.tightest_pids(root, groups.Group("/cg", "/a/b", 2)) == ("/a", 100, 99)
    assert groups.tightest_pids(root, groups.Group("/other", "/a", 2)) is None


def test_limits_are_those_of_the_rank_not_of_who_asks(attempt: Path) -> None:
    write_record(attempt, limits={"open_files": [200, 400]}, refused_forks=2)
    found = setting.limits("a-run", "node0", 0, 3)
    assert found["limits"] == {"open_files": [200, 400]}
    assert found["refused"] == 2
    assert found["tasks"] > 0
    assert len(found["open_files"]) == 2


def test_limits_of_an_unknown_rank_are_empty(attempt: Path) -> None:
    found = setting.limits("a-run", "node0", 0, 3)
    assert (found["limits"], found["group"], found["refused"]) == ({}, None, None)


@pytest.mark.parametrize("noted", [7, {"memory": 7}, {"memory": ["/x", 3, 4]}, {"memory": ["/x"]}])
def test_group_that_a_script_has_overwritten_is_unknown(attempt: Path, noted: Any) -> None:
    write_record(attempt, groups=noted)
    record = setting.record_of("a-run", "node0", 0, 3)
    assert setting.group_of(record, "memory") is None


def test_step_of_the_clock_is_what_it_was_set_by_since_the_start(attempt: Path) -> None:
    write_record(attempt, clock=rank_setting.clock_offset() - 30.0)
    assert setting.clock("a-run", "node0", 0, 3)["step"] == pytest.approx(30.0, abs=5.0)
    write_record(attempt)
    assert setting.clock("a-run", "node0", 0, 3) == {"step": None}


@pytest.mark.parametrize("launcher", [False, True])
def test_record_of_a_rank_has_its_limits_groups_and_clock(
    agent: AgentProcess, launcher: bool
) -> None:
    script = (
        'ulimit -n 333; RANK=0 LOCAL_RANK=0 exec "$PYTHON_EXEC" -c pass' if launcher else "exit 0"
    )
    agent.start(["sh", "-c", script], launcher=launcher)
    agent.follow()
    record = json.loads((agent.directory / "attempt-0/rank-0.json").read_text())
    soft, _ = record["limits"]["open_files"]
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft == (333 if launcher else own if own != resource.RLIM_INFINITY else None)
    assert set(record["groups"]) == {"memory", "pids"}
    assert abs(record["clock"] - rank_setting.clock_offset()) < 60
    assert "refused_forks" in record
