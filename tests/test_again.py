"""A run that fails is started again: on the nodes embedded in this machine, by whoever minds it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.again import mind
from orchestrator.plan import Job
from orchestrator.remote.line import Dialer, Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.attempts import Attempt
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.saved import read_saved
from orchestrator.runs.wishes import Wish, leave_wish
from tests.plan.helpers import host
from tests.runs.helpers import plan_of, record_in

SECRET = "a-value-that-nobody-is-to-see"
# Rank 1 fails until attempt N; attempt 0 waits for the file that is named, if one is.
SCRIPT = """
import os, sys, time
attempt, rank = int(os.environ["ORCH_ATTEMPT"]), int(os.environ["RANK"])
print("rank", rank, "attempt", attempt, len(os.environ.get("HF_TOKEN", "")), flush=True)
while attempt == 0 and len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
sys.exit(3 + attempt if rank == 1 and attempt < int(sys.argv[1]) else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    return folder / "train.py"


class Orch:
    """`orch` with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self._runs = home / ".local/state/orch/runs"

    def __call__(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, words)], capture_output=True,
            text=True, timeout=100, env={**self._environment, **more}, check=False,
        )  # fmt: skip

    def launch(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        local = ("--local", "2", "--launcher", "direct", "--grace", "1", "--preflight", "off")
        return self("launch", *local, *words, **more)

    @property
    def folder(self) -> Path:
        (folder,) = self._runs.iterdir()
        return folder

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    @property
    def keeper(self) -> int:
        """The pid of who minds the run."""
        said = json.loads((self.folder / "controller.lock").read_text())
        assert said["background"]
        return int(said["pid"])

    def wait_for_end(self) -> dict[str, Any]:
        wait_until(lambda: self.record["state"] == "ended")
        return self.record


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.fixture
def orch(tmp_path: Path) -> Orch:
    return Orch(tmp_path)


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_what_fails_once_is_started_again_and_succeeds(
    orch: Orch, script: Path, launcher: str
) -> None:
    done = orch.launch("--restarts", "2", "--launcher", launcher, script, "1")
    assert done.returncode == 0, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if "attempt" in line)
    assert lines == [f"r{r} local{r} │ rank {r} attempt {a} 0" for r in (0, 1) for a in (0, 1)]
    assert "rank 1 on local1 exited with 3: starting all of it again, attempt 2 of 3" in done.stderr
    assert orch.record["summary"] == "all 2 ranks succeeded (attempt 2 of 3)"
    assert orch.record["attempt"] == 1
    (failed,) = orch.record["failed"]
    assert (failed["number"], failed["exit_code"], failed["lost"]) == (0, 3, [])
    assert failed["summary"] == "rank 1 on local1 exited with 3"
    for attempt in (0, 1):
        log = orch.folder / f"logs/local1/attempt-{attempt}/rank-1.out"
        assert log.read_text() == f"rank 1 attempt {attempt} 0\n"


def test_when_no_attempt_is_left_the_verdict_is_that_of_the_last(orch: Orch, script: Path) -> None:
    done = orch.launch("--restarts", "2", script, "9")
    assert done.returncode == 5
    assert orch.record["summary"] == "rank 1 on local1 exited with 5 (attempt 3 of 3)"
    assert [failed["exit_code"] for failed in orch.record["failed"]] == [3, 4]
    # Whoever comes later finds all attempts.
    shown = orch("logs").stdout
    assert [f"rank 1 attempt {attempt} 0" in shown for attempt in (0, 1, 2)] == [True] * 3
    status = orch("status").stdout
    assert re.search(r"r1 +failed +5 .* rank 1 attempt 2", status), status
    assert "attempt 2: rank 1 on local1 exited with 4 after " in status
    assert orch("attach").returncode == 5


def test_without_restarts_nothing_is_said_of_attempts(orch: Orch, script: Path) -> None:
    done = orch.launch(script, "1")
    assert done.returncode == 3
    assert "(attempt" not in done.stderr
    assert orch.record["recipe"] is None


def test_what_a_person_stops_is_not_started_again(orch: Orch, script: Path, tmp_path: Path) -> None:
    assert orch.launch("--detach", "--restarts", "5", script, "9", tmp_path / "go").returncode == 0
    assert orch("stop").returncode == 0
    assert orch.record["failed"] == []
    assert orch.record["exit_code"] == 130
    assert orch.launch("--timeout", "1", "--restarts", "5", script, "9", "/none").returncode == 124


def test_a_keeper_starts_it_again_with_the_secrets_that_it_was_handed(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    words = ("--detach", "--env", "HF_TOKEN", "--restarts", "1", script, "1", tmp_path / "go")
    done = orch.launch(*words, HF_TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in process.read_bytes(), process
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    (tmp_path / "go").touch()
    ended = orch.wait_for_end()
    assert ended["summary"] == "all 2 ranks succeeded (attempt 2 of 2)"
    log = orch.folder / "logs/local0/attempt-1/rank-0.out"
    assert log.read_text() == f"rank 0 attempt 1 {len(SECRET)}\n"
    for file in (tmp_path / ".local/state/orch").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_keeper_that_comes_later_starts_again_what_has_no_secrets(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    orch.launch("--detach", "--restarts", "1", script, "1", tmp_path / "go")
    os.kill(orch.keeper, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert orch("attach").returncode == 0
    assert orch.wait_for_end()["summary"] == "all 2 ranks succeeded (attempt 2 of 2)"


def test_a_keeper_that_comes_later_says_what_it_lacks(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    words = ("--detach", "--env", "HF_TOKEN", "--restarts", "1", script, "1", tmp_path / "go")
    orch.launch(*words, HF_TOKEN=SECRET)
    os.kill(orch.keeper, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert orch("attach").returncode == 3
    assert orch.wait_for_end()["summary"] == (
        "rank 1 on local1 exited with 3 (attempt 1 of 2); not started again: only the orch that was "
        "left knew the values of HF_TOKEN"
    )


def test_who_watches_sees_the_next_attempt_too(orch: Orch, script: Path, tmp_path: Path) -> None:
    orch.launch("--detach", "--restarts", "1", script, "1", tmp_path / "go")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    watching = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "attach"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert watching.stdout is not None
    assert "attempt 0" in watching.stdout.readline()
    (tmp_path / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert "r1 local1 │ rank 1 attempt 1" in out
    assert "starting all of it again, attempt 2 of 2" in err
    assert err.count("run ") >= 3  # the header of each attempt, and the verdict


def test_a_keeper_between_two_attempts_begins_the_next(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    """Whoever minded it crashed once it had noted the failure, before it started anything."""
    orch.launch("--detach", "--restarts", "1", script, "1", tmp_path / "go")
    os.kill(orch.keeper, signal.SIGKILL)
    record = orch.record
    failed = {"number": 0, "last": 0, "began": 1.0, "ended": 2.0, "exit_code": 3, "summary": "it failed",
              "lost": []}  # fmt: skip
    (orch.folder / "run.json").write_text(json.dumps({**record, "failed": [failed]}))
    (tmp_path / "go").touch()
    assert "it failed: starting all of it again, attempt 2 of 2" in orch("attach").stderr
    assert orch.wait_for_end()["exit_code"] == 0


@pytest.mark.parametrize("how", ["a wish", "a signal"])
async def test_a_person_may_stop_it_between_two_attempts(tmp_path: Path, how: str) -> None:
    interrupts, options = Interrupts(), ConnectOptions(timeout=60)
    with (
        closing(record_in(tmp_path, plan_of(1))) as record,
        socket.create_server(("127.0.0.1", 0)) as silent,  # so that connecting takes as long
    ):

        def hear(event: events.Event) -> None:
            if isinstance(event, events.PhaseBegan) and how == "a wish":
                leave_wish(record.folder, Wish("orch stop", None))
            elif isinstance(event, events.PhaseBegan):
                interrupts.send(signal.SIGTERM)

        here = host("n0", address="127.0.0.1", port=silent.getsockname()[1])
        record.recipe = Recipe(Job("t.py"), (here,), restarts=9)
        record.fail(Attempt(0, 0, 1.0, 2.0, 3, "it failed"))
        line = Line(here, Dialer(options))
        async with asyncio.timeout(10):
            verdict = await mind(record, [line], hear, interrupts, options)
        saved = read_saved(record.folder)
    code, who = (130, "orch stop") if how == "a wish" else (143, "SIGTERM")
    assert verdict.exit_code == code
    assert verdict.summary == f"stopped by {who} (attempt 1 of 10)"
    assert saved is not None
    assert (saved.state, saved.exit_code) == ("ended", code)
