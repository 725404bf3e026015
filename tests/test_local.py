"""`orch launch --local`: real SSH, rsync and agents on this machine, without sshd or root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], *sys.argv[1:])
print("to stderr", file=sys.stderr)
sys.exit(3 if sys.argv[1:] == ["fail"] else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    script = folder / "train.py"
    script.write_text(SCRIPT)
    return script


def orch(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, words)],
        capture_output=True, text=True, timeout=100, env=environment, check=False,
    )  # fmt: skip


def test_runs_the_script_on_every_node(tmp_path: Path, script: Path) -> None:
    done = orch(
        tmp_path, "launch", "--local", "2", "--nproc", "2", "--launcher", "direct", script, "x"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if "rank" in line) == [
        f"r{rank} local{rank // 2} │ rank {rank} of 4 x" for rank in range(4)
    ]
    assert "✓" in done.stderr
    assert "connect" in done.stderr
    assert "sync" in done.stderr


def test_the_exit_code_is_the_jobs_own(tmp_path: Path, script: Path) -> None:
    done = orch(tmp_path, "launch", "--local", "2", "--launcher", "direct", script, "fail")
    assert done.returncode == 3
    assert "exited with 3" in done.stderr


def test_stdout_and_stderr_of_the_ranks_stay_apart_in_raw_output(
    tmp_path: Path, script: Path
) -> None:
    done = orch(
        tmp_path, "launch", "--local", "1", "--launcher", "direct", "--output", "raw", script
    )
    assert done.stdout == "rank 0 of 1\n"
    assert "to stderr\n" in done.stderr


def test_the_record_tells_what_ran(tmp_path: Path, script: Path) -> None:
    orch(tmp_path, "launch", "--local", "2", "--name", "first", "--launcher", "direct", script)
    (run,) = (tmp_path / ".local/state/orch/runs").iterdir()
    assert run.name.startswith("first-")
    assert run.stat().st_mode & 0o777 == 0o700
    record = json.loads((run / "run.json").read_text())
    assert (record["state"], record["exit_code"]) == ("ended", 0)
    assert [node["name"] for node in record["plan"]["nodes"]] == ["local0", "local1"]
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events[0] == "Started"
    assert events[-1] == "Ended"
    assert events.count("RankEnded") == 2
    assert (run / "logs/local1/attempt-0/rank-1.out").read_text() == "rank 1 of 2\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["launch", "--local", "2", "missing.py"], 2, "missing.py: no such file"),
        (["launch", "-i", "none.yaml", __file__], 2, "none.yaml"),
        (["launch", "--local", "2", "-i", "x.yaml", __file__], 2, "exclude each other"),
        (["launch", "--local", "2", "--launcher", "mpi", __file__], 2, "unknown launcher 'mpi'"),
        (["launch", "--local", "2", "--nproc", "0", __file__], 2, "--nproc 0"),
        (["launch", "--local", "2", "--rank", "x", __file__], 2, "--rank x"),
        (["launch", "--local", "2", "--env", "1=2", __file__], 2, "not the name of a variable"),
        (["launch", "--local", "2", "--sync", "/none", __file__], 2, "/none: no such folder"),
        (["launch", "--local", "2", "--sync", "/usr/lib/python3", __file__], 2, "is not inside"),
        (["launch", "--local", "2", "--name", "a/b", __file__], 2, "cannot name a run"),
        (["launch", "--local", "0", __file__], 2, "--local"),
        (["launch"], 2, "SCRIPT"),
        (["lunch"], 2, "lunch"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_exits_with_2(
    tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    done = orch(tmp_path, *words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path, script: Path) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/share").mkdir()
    environment = {
        "HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_STATE_HOME": "/proc/none",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "launch", "--local", "1", "--launcher", "direct", script],
        capture_output=True, text=True, timeout=100, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert "XDG_STATE_HOME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_disturb_nothing(tmp_path: Path, script: Path, closed: str) -> None:
    command = (
        f'"{sys.executable}" -m orchestrator launch --local 1 --launcher direct "{script}" {closed}'
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (copy,) = tmp_path.glob(".local/state/orch/runs/*/logs/local0/attempt-0/rank-0.out")
    assert copy.read_text() == "rank 0 of 1\n"


def test_an_address_that_is_nobodys_is_named(tmp_path: Path, script: Path) -> None:
    words = ["--launcher", "direct", "--main-address", "no.such.name.invalid"]
    done = orch(tmp_path, "launch", "--local", "1", *words, script)
    assert done.returncode == 125
    assert "local0: main's address no.such.name.invalid" in done.stderr
    assert "--main-address" in done.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    import orchestrator

    assert orch(tmp_path, "--version").stdout == f"orch {orchestrator.__version__}\n"


def test_the_same_from_python(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from orchestrator import Inventory, Job, Main, Request, Terms, find
    from orchestrator.events import Event, Output
    from orchestrator.launch import launch
    from orchestrator.remote.local import LocalCluster

    monkeypatch.setenv("HOME", str(tmp_path))
    heard: list[Event] = []

    async def main() -> int:
        async with LocalCluster(2, tmp_path / "local") as cluster:
            request = Request(
                Inventory(hosts=cluster.hosts, main=Main(), source=tmp_path),
                Job("train.py", launcher="direct"),
                source=script.parent,
                terms=Terms(grace=1.5, timeout=90.0),
                connect=cluster.options,
            )
            verdict = await launch(request, heard.append)
            assert verdict is not None
            return verdict.exit_code

    assert asyncio.run(main()) == 0
    assert {event.stream.rank for event in heard if isinstance(event, Output)} == {0, 1}
    settings = find().settings
    assert (settings.grace, settings.timeout, settings.lease) == (1.5, 90.0, None)


def test_a_preflight_of_this_machine_alone_finds_nothing_wrong(
    tmp_path: Path, script: Path
) -> None:
    words = ("--local", "2", "--level", "quick", "--launcher", "direct", "--output", "json")
    done = orch(tmp_path, "preflight", *words, script)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["level"]) in {("pass", "quick"), ("warn", "quick")}
    found = {check["id"]: check["status"] for check in report["checks"]}
    assert found["net.tcp"] == found["sw.import"] == found["sw.script"] == "pass"


def test_a_preflight_from_python(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from orchestrator import CheckRequest, Inventory, Job, Main, Report, Status
    from orchestrator.check import check
    from orchestrator.remote.local import LocalCluster

    monkeypatch.setenv("HOME", str(tmp_path))
    script.write_text("import nowhere_to_be_found\n")

    async def main() -> Report:
        async with LocalCluster(2, tmp_path / "local") as cluster:
            inventory = Inventory(hosts=cluster.hosts, main=Main(), source=tmp_path)
            job = Job("train.py", launcher="direct")
            request = CheckRequest(
                inventory, job, script.parent, script, only=("sw.import",), connect=cluster.options
            )
            return await check(request, lambda event: None)

    report = asyncio.run(main())
    assert report.status is Status.FAIL
    ((failed, finding),) = report.having(Status.FAIL)
    assert (failed.id, finding.nodes) == ("sw.import", ("local0", "local1"))
    assert "nowhere_to_be_found" in finding.message
    assert finding.remedy is not None and "install" in finding.remedy.text
