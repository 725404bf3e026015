"""`orch launch --local`: real SSH, rsync and agents on this machine, without sshd or root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.homes import copy_node
from tests.warm import Warm

pytestmark = pytest.mark.cluster

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


Orch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def orch(tmp_path: Path, used_home: Path, warm: Warm) -> Orch:
    """Run one command to its end, with this home."""
    copy_node(used_home, tmp_path)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return warm.run([*map(str, words)], environment, Path.cwd(), timeout=100)

    return run


def test_launch_runs_script_on_every_node(orch: Orch, script: Path) -> None:
    done = orch("launch", "--local", "2", "--nproc", "2", "--launcher", "direct", script, "x")
    assert done.returncode == 0, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if "rank" in line) == [
        f"r{rank} local{rank // 2} │ rank {rank} of 4 x" for rank in range(4)
    ]
    assert "✓" in done.stderr
    assert "connect" in done.stderr
    assert "sync" in done.stderr


def test_exit_code_is_that_of_the_job(orch: Orch, script: Path) -> None:
    done = orch("launch", "--local", "2", "--launcher", "direct", script, "fail")
    assert done.returncode == 3
    assert "exited with 3" in done.stderr


def test_raw_output_keeps_stdout_and_stderr_separate(orch: Orch, script: Path) -> None:
    done = orch("launch", "--local", "1", "--launcher", "direct", "--output", "raw", script)
    assert done.stdout == "rank 0 of 1\n"
    assert "to stderr\n" in done.stderr


def test_record_contains_what_ran(orch: Orch, tmp_path: Path, script: Path) -> None:
    orch("launch", "--local", "2", "--name", "first", "--launcher", "direct", script)
    (run,) = (tmp_path / ".local/state/orch/runs").iterdir()
    assert run.name.startswith("first-")
    assert run.stat().st_mode & 0o777 == 0o700
    record = json.loads((run / "run.json").read_text())
    assert (record["state"], record["exit_code"]) == ("ended", 0)
    assert [node["host"]["name"] for node in record["plan"]["nodes"]] == ["local0", "local1"]
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
        (["launch", "--local", "2", "--launcher", "flux", __file__], 2, "unknown launcher 'flux'"),
        (["launch", "--local", "2", "--nproc", "0", __file__], 2, "--nproc 0"),
        (["launch", "--local", "2", "--rank", "x", __file__], 2, "--rank x"),
        (["launch", "--local", "2", "--env", "A B=2", __file__], 2, "expected a variable's name"),
        (["launch", "--local", "2", "--sync", "/none", __file__], 2, "/none: no such folder"),
        (["launch", "--local", "2", "--sync", "/usr/lib/python3", __file__], 2, "is not inside"),
        (["launch", "--local", "2", "--name", "a/b", __file__], 2, "cannot name a run"),
        (["launch", "--local", "0", __file__], 2, "--local"),
        (["launch"], 2, "SCRIPT"),
        (["lunch"], 2, "lunch"),
    ],
)
def test_wrong_usage_is_reported_in_one_line_and_exits_with_2(
    orch: Orch, words: list[str], code: int, message: str
) -> None:
    done = orch(*words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_unwritable_state_folder_is_named(tmp_path: Path, script: Path) -> None:
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
def test_launch_with_closed_standard_streams_succeeds(
    tmp_path: Path, used_home: Path, script: Path, closed: str
) -> None:
    copy_node(used_home, tmp_path)
    log = tmp_path / "log"
    launch = f'"{sys.executable}" -m orchestrator launch --local 1 --launcher direct'
    command = f'{launch} --log-file "{log}" "{script}" {closed}'
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr + log.read_text()
    (copy,) = tmp_path.glob(".local/state/orch/runs/*/logs/local0/attempt-0/rank-0.out")
    assert copy.read_text() == "rank 0 of 1\n"


def test_unknown_main_address_is_named(orch: Orch, script: Path) -> None:
    words = ["--launcher", "direct", "--main-address", "no.such.name.invalid"]
    done = orch("launch", "--local", "1", *words, script)
    assert done.returncode == 125
    assert "local0: main address no.such.name.invalid" in done.stderr
    assert "--main-address" in done.stderr


def test_version_is_printed(orch: Orch) -> None:
    import orchestrator

    assert orch("--version").stdout == f"orch {orchestrator.__version__}\n"


def test_preflight_of_this_machine_finds_nothing_wrong(orch: Orch, script: Path) -> None:
    words = ("--local", "2", "--level", "quick", "--launcher", "direct", "--output", "json")
    done = orch("preflight", *words, script)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["level"]) in {("pass", "quick"), ("warn", "quick")}
    found = {check["id"]: check["status"] for check in report["checks"]}
    assert found["net.tcp"] == found["sw.import"] == found["sw.script"] == "pass"


def test_preflight_from_python_names_the_check_that_fails(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator import Status, preflight

    monkeypatch.setenv("HOME", str(tmp_path))
    script.write_text("import nowhere_to_be_found\n")
    report = preflight(script, local=2, launcher="direct", only=["sw.import"])
    assert report.status is Status.FAIL
    ((failed, finding),) = report.having(Status.FAIL)
    assert (failed.id, finding.nodes) == ("sw.import", ("local0", "local1"))
    assert "nowhere_to_be_found" in finding.message
    assert finding.remedy is not None and "install" in finding.remedy.text
