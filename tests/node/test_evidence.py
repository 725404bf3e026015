"""The evidence on a node of a rank's end, besides the rank's output."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.node import evidence
from orchestrator.node.probes import kernel_log, memory

from .conftest import AgentProcess
from .ranks import tree, write_record

V1 = "36 35 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("group", "mounts", "counter"),
    [
        ("0::/box\n", V2, "sys/fs/cgroup/box/memory.events"),
        ("4:memory:/box\n0::/\n", V1, "sys/fs/cgroup/memory/box/memory.oom_control"),
    ],
)
def test_oom_count_reads_the_control_group_of_this_process(
    tmp_path: Path, group: str, mounts: str, counter: str
) -> None:
    events = "low 0\noom 9\noom_kill 2\noom_group_kill 1\n"
    root = tree(
        tmp_path, **{"proc/self/cgroup": group, "proc/self/mountinfo": mounts, counter: events}
    )
    count = memory.OomCount(root)
    assert count.since() == 0
    tree(tmp_path, **{counter: events.replace("oom_kill 2", "oom_kill 5")})
    assert count.since() == 3


def test_oom_count_without_control_group_is_none(tmp_path: Path) -> None:
    assert memory.OomCount(str(tmp_path)).since() is None


def evidence_of(killed: bool = False, run: str = "a-run", workdir: str = "") -> dict[str, Any]:
    return evidence.evidence(5.0, run, "node0", 0, 3, killed, workdir)


def test_evidence_of_unknown_rank_is_empty(attempt: Path) -> None:
    assert evidence_of() == {
        "error_file": None, "oom_kills": None, "kernel": None, "why": None, "full": [], "file_limit": None,
        "source": None, "counter": None, "group": None,
    }  # fmt: skip


def test_evidence_has_the_exception_that_torch_recorded(attempt: Path) -> None:
    (attempt / "error").write_text('{"message": "boom"}')
    write_record(attempt, code=None, signal=9, error_file=str(attempt / "error"), oom_kills=1)
    found = evidence_of()
    assert (found["error_file"], found["oom_kills"]) == ('{"message": "boom"}', 1)


def test_evidence_lists_folders_without_free_space(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {str(attempt): (0, 1, 1), "/job": (1 << 20, 5, 0), "/tmp": (1 << 20, 0, 0)}

    def statvfs(path: str) -> SimpleNamespace:
        if path not in free:
            raise FileNotFoundError(path)
        blocks, files, free_files = free[path]
        return SimpleNamespace(f_bavail=blocks, f_frsize=4096, f_files=files, f_favail=free_files)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert evidence_of(workdir="/job")["full"] == [str(attempt), "/job"]
    assert evidence_of(workdir="/gone")["full"] == [str(attempt)]


def test_evidence_has_the_limit_on_file_size(attempt: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 8192))\n"
        "from orchestrator.node.evidence import evidence\n"
        "print(evidence(5.0, 'a-run', 'node0', 0, 3, False)['file_limit'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4096\n"


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "number"])
def test_error_file_that_is_no_regular_file_does_not_block(attempt: Path, what: str) -> None:
    place: Any = attempt / what
    if what == "folder":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)
    write_record(attempt, code=None, signal=9, error_file=7 if what == "number" else str(place))
    assert evidence_of()["error_file"] is None


def test_evidence_of_killed_rank_has_relevant_kernel_lines_since_its_start(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    log = [
        kernel_log.Line(now - 60, "Out of memory: Killed process 70 (python)"),
        kernel_log.Line(now - 2, "eth0: link becomes ready"),
        kernel_log.Line(now - 1, "Memory cgroup out of memory: Killed process 71 (python)"),
    ]
    monkeypatch.setattr(kernel_log, "lines", lambda: ("kmsg", log, None))
    own = Path("/proc/self/ns/pid").stat().st_ino
    monkeypatch.setattr(evidence, "_INITIAL_NAMESPACE", own)
    write_record(attempt, code=None, signal=9)
    found = evidence_of(killed=True)
    assert (found["kernel"], found["source"]) == ([log[2].text], "kmsg")
    assert evidence_of(killed=False)["kernel"] is None
    monkeypatch.setattr(evidence, "_INITIAL_NAMESPACE", own + 1)
    found = evidence_of(killed=True)
    assert found["kernel"] is None
    assert "in a container" in found["why"]


RECORDS = """
import json, os, sys
with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as file: file.write("what was raised")
sys.exit(3)
"""


@pytest.mark.parametrize("own", [False, True])
def test_rank_gets_an_error_file_unless_the_job_names_one(
    agent: AgentProcess, tmp_path: Path, own: bool
) -> None:
    chosen = {"TORCHELASTIC_ERROR_FILE": str(tmp_path / "chosen")} if own else {}
    agent.start([sys.executable, "-c", RECORDS], env=chosen)
    agent.follow()
    answer = agent.ask(
        "evidence", limit=5, run=agent.run, node="node0", attempt=0, rank=0, killed=False
    )
    assert answer["ok"]["error_file"] == "what was raised"
    place = tmp_path / "chosen" if own else agent.directory / "attempt-0/rank-0.error"
    assert place.read_text() == "what was raised"


SHIMMED = """
import os, subprocess, sys
ranked = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", **dict(p.split("=") for p in sys.argv[2:])}
subprocess.run([os.environ["PYTHON_EXEC"], "-c", sys.argv[1]], env=ranked)
"""


def test_error_file_of_the_launcher_is_kept(agent: AgentProcess, tmp_path: Path) -> None:
    chosen = f"TORCHELASTIC_ERROR_FILE={tmp_path / 'engine'}"
    agent.start([sys.executable, "-c", SHIMMED, RECORDS, chosen], launcher=True)
    agent.follow()
    assert (tmp_path / "engine").read_text() == "what was raised"


def test_error_file_without_one_of_the_launcher_is_beside_the_logs(agent: AgentProcess) -> None:
    agent.start([sys.executable, "-c", SHIMMED, RECORDS, "TORCHELASTIC_ERROR_FILE="], launcher=True)
    agent.follow()
    assert (agent.directory / "attempt-0/rank-0.error").read_text() == "what was raised"
