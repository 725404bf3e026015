"""A run that fails is restarted by its controller, on the nodes embedded in this machine."""

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
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.restarts import FAILED_UNSEEN, supervise
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Job
from orchestrator.remote.connection import Connector, NodeConnection
from orchestrator.remote.ssh.transport import SshTransport
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.saved_run import Attempt, load_run
from orchestrator.runs.stop_request import StopRequest, request_stop
from tests.homes import copy_node
from tests.plan.helpers import host
from tests.runs.helpers import plan_of, record_in
from tests.warm import Warm

pytestmark = pytest.mark.cluster

SECRET = "a-value-that-nobody-is-to-see"
# Rank 1 fails before attempt N; each of the first attempts waits for one of the named files.
SCRIPT = """
import os, sys, time
attempt, rank = int(os.environ["ORCH_ATTEMPT"]), int(os.environ["RANK"])
gates = [word for word in sys.argv[2:] if word.startswith("/")]
key = sys.argv.index("--api-key") if "--api-key" in sys.argv else len(sys.argv)
secrets = [os.environ.get("HF_TOKEN", ""), *sys.argv[key + 1 :]]
print("rank", rank, "attempt", attempt, *map(len, secrets), flush=True)
while attempt < len(gates) and not os.path.exists(gates[attempt]):
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
    """`orch` with its own home folder."""

    def __init__(self, home: Path, warm: Warm) -> None:
        self._warm = warm
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self._runs = home / ".local/state/orch/runs"

    def __call__(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self._environment, **more}
        return self._warm.run([*map(str, words)], environment, Path.cwd(), timeout=100)

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

    def node_state(self, node: str) -> str | None:
        """Return the status that the supervisor of an embedded node wrote in its last attempt."""
        try:
            said = json.loads((self.folder / node / "status.json").read_text())
        except FileNotFoundError:
            return None
        state: str = said["state"]
        return state

    @property
    def controller(self) -> int:
        """The PID of the controller."""
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
def orch(tmp_path: Path, used_home: Path, warm: Warm) -> Orch:
    copy_node(used_home, tmp_path)
    return Orch(tmp_path, warm)


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_run_that_fails_once_is_restarted_and_succeeds(
    orch: Orch, script: Path, launcher: str
) -> None:
    done = orch.launch("--restarts", "2", "--launcher", launcher, script, "1")
    assert done.returncode == 0, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if "attempt" in line)
    assert lines == [f"r{r} local{r} │ rank {r} attempt {a} 0" for r in (0, 1) for a in (0, 1)]
    assert "rank 1 on local1 exited with 3: restarting all ranks, attempt 2 of 3" in done.stderr
    assert orch.record["summary"] == "all 2 ranks succeeded (attempt 2 of 3)"
    assert orch.record["attempt"] == 1
    (failed,) = orch.record["failed"]
    assert (failed["number"], failed["exit_code"], failed["lost"]) == (0, 3, [])
    assert failed["summary"] == "rank 1 on local1 exited with 3"
    for attempt in (0, 1):
        log = orch.folder / f"logs/local1/attempt-{attempt}/rank-1.out"
        assert log.read_text() == f"rank 1 attempt {attempt} 0\n"


def test_verdict_is_that_of_the_last_attempt(orch: Orch, script: Path) -> None:
    done = orch.launch("--restarts", "2", script, "9")
    assert done.returncode == 5
    assert orch.record["summary"] == "rank 1 on local1 exited with 5 (attempt 3 of 3)"
    assert [failed["exit_code"] for failed in orch.record["failed"]] == [3, 4]
    # A later reader finds all attempts.
    shown = orch("logs").stdout
    assert [f"rank 1 attempt {attempt} 0" in shown for attempt in (0, 1, 2)] == [True] * 3
    status = orch("status").stdout
    assert re.search(r"r1 +failed +5 .* rank 1 attempt 2", status), status
    assert re.search(r"attempt 2 \([0-9.]+ s\): rank 1 on local1 exited with 4\n", status)
    assert orch("attach").returncode == 5


def test_run_without_restarts_does_not_mention_attempts(orch: Orch, script: Path) -> None:
    done = orch.launch(script, "1")
    assert done.returncode == 3
    assert "(attempt" not in done.stderr
    assert orch.record["spec"] is None


def test_stopped_run_is_not_restarted(orch: Orch, script: Path, tmp_path: Path) -> None:
    assert orch.launch("--detach", "--restarts", "5", script, "9", tmp_path / "go").returncode == 0
    assert orch("stop").returncode == 0
    assert orch.record["failed"] == []
    assert orch.record["exit_code"] == 130
    assert orch.launch("--timeout", "1", "--restarts", "5", script, "9", "/none").returncode == 124


def test_background_controller_restarts_with_the_secrets_it_was_given(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    words = ("--detach", "--env", "HF_TOKEN", "--restarts", "1", script, "1", tmp_path / "go")
    done = orch.launch(*words, HF_TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in process.read_bytes(), process
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    (tmp_path / "go").touch()
    ended = orch.wait_for_end()
    assert ended["summary"] == "all 2 ranks succeeded (attempt 2 of 2)"
    log = orch.folder / "logs/local0/attempt-1/rank-0.out"
    assert log.read_text() == f"rank 0 attempt 1 {len(SECRET)}\n"
    for file in (tmp_path / ".local/state/orch").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_later_controller_restarts_a_run_without_secrets(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    orch.launch("--detach", "--restarts", "1", script, "1", tmp_path / "go")
    os.kill(orch.controller, signal.SIGKILL)
    assert (
        orch("status").returncode == 0
    )  # which returns once another controller follows both nodes
    (tmp_path / "go").touch()
    assert orch("attach").returncode == 0
    assert orch.wait_for_end()["summary"] == "all 2 ranks succeeded (attempt 2 of 2)"


@pytest.mark.parametrize("command", ["status", "logs", "attach"])
def test_run_that_failed_without_a_controller_is_not_restarted(
    orch: Orch, script: Path, tmp_path: Path, command: str
) -> None:
    orch.launch("--detach", "--restarts", "1", script, "9", tmp_path / "go")
    os.kill(orch.controller, signal.SIGKILL)
    (tmp_path / "go").touch()
    wait_until(lambda: orch.node_state("local1") == "ended")
    done = orch(command)
    assert done.returncode == (3 if command == "attach" else 0)
    ended = orch.wait_for_end()
    assert ended["exit_code"] == 3
    assert ended["summary"] == f"rank 1 on local1 exited with 3 (attempt 1 of 2); {FAILED_UNSEEN}"
    assert (ended["failed"], ended["missing"]) == ([], [])
    assert list(orch.folder.glob("local1/attempt-1")) == []


def test_later_controller_reports_the_secrets_it_lacks(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    words = ("--detach", "--env", "HF_TOKEN", "--restarts", "1", script, "1", tmp_path / "go")
    orch.launch(*words, "--api-key", SECRET, HF_TOKEN=SECRET)
    os.kill(orch.controller, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert orch("attach").returncode == 3
    assert orch.wait_for_end()["summary"] == (
        "rank 1 on local1 exited with 3 (attempt 1 of 2); not restarted: only the first controller "
        "had the values of --api-key, HF_TOKEN"
    )
    for file in (tmp_path / ".local/state/orch").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_background_controller_restarts_with_secret_arguments(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    words = ("--detach", "--restarts", "1", script, "1", tmp_path / "go", "--api-key", SECRET)
    orch.launch(*words)
    (tmp_path / "go").touch()
    assert orch.wait_for_end()["summary"] == "all 2 ranks succeeded (attempt 2 of 2)"
    log = orch.folder / "logs/local0/attempt-1/rank-0.out"
    assert log.read_text() == f"rank 0 attempt 1 0 {len(SECRET)}\n"


def test_attach_shows_the_next_attempt(orch: Orch, script: Path, tmp_path: Path) -> None:
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
    assert "restarting all ranks, attempt 2 of 2" in err
    assert err.count("run ") >= 3  # the header of each attempt, and the verdict


def test_controller_that_dies_between_attempts_leaves_the_last_failure_as_the_end(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    """The controller crashes after it has recorded the failure, before it restarts anything."""
    orch.launch("--detach", "--restarts", "1", script, "1", tmp_path / "go")
    os.kill(orch.controller, signal.SIGKILL)
    record = orch.record
    failed = {"number": 0, "last": 0, "began": 1.0, "ended": 2.0, "exit_code": 3, "summary": "it failed",
              "lost": []}  # fmt: skip
    (orch.folder / "run.json").write_text(json.dumps({**record, "failed": [failed]}))
    (tmp_path / "go").touch()
    assert orch("attach").returncode == 3
    ended = orch.wait_for_end()
    assert (ended["exit_code"], ended["summary"]) == (
        3,
        f"it failed (attempt 1 of 2); {FAILED_UNSEEN}",
    )
    wait_until(lambda: orch.record["missing"] == [])  # its logs are fetched
    assert list(orch.folder.glob("local1/attempt-1")) == []


@pytest.mark.parametrize("failures", [1, 9])
def test_attempt_that_only_the_nodes_know_is_followed_and_is_the_last(
    orch: Orch, script: Path, tmp_path: Path, failures: int
) -> None:
    """The record has only the first attempt: an earlier controller could not write the second."""
    gates = tmp_path / "go", tmp_path / "again"
    orch.launch("--detach", "--restarts", "2", script, str(failures), *gates)
    before = orch.record
    gates[0].touch()
    second = orch.folder / "local1/attempt-1/rank-1.out"
    wait_until(lambda: second.exists() and "attempt 1" in second.read_text())
    os.kill(orch.controller, signal.SIGKILL)
    gates[1].touch()
    wait_until(lambda: orch.node_state("local1") == "ended")
    (orch.folder / "run.json").write_text(json.dumps(before))
    done = orch("attach")
    ended = orch.wait_for_end()
    assert done.returncode == ended["exit_code"]
    assert ended["attempt"] == 1
    if failures == 1:
        assert (ended["exit_code"], ended["summary"]) == (0, "all 2 ranks succeeded")
    else:
        why = "not restarted: its nodes have had an attempt that is not on record"
        assert ended["exit_code"] == 4
        assert ended["summary"] == f"rank 1 on local1 exited with 4; {why}"
    assert list(orch.folder.glob("local1/attempt-2")) == []


def test_end_that_is_only_in_the_event_log_is_recorded(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    """There was disk space for a line of the event log, but not for a new record."""
    done = orch.launch("--restarts", "1", script, "9")
    emitted = orch.record
    started = {**emitted, "state": "running", "ended": None, "exit_code": None, "summary": "", "attempt": 0,
               "failed": [], "verdict": None}  # fmt: skip
    (orch.folder / "run.json").write_text(json.dumps(started))
    assert orch("status").returncode == 0
    ended = orch.wait_for_end()
    assert ended["exit_code"] == done.returncode == 4
    assert (ended["summary"], ended["verdict"]) == (emitted["summary"], emitted["verdict"])
    assert orch("attach").returncode == 4
    assert list(orch.folder.glob("local1/attempt-2")) == []
    log = (orch.folder / "events.jsonl").read_text()
    assert log.count('"event": "Ended"') == 1


@pytest.mark.parametrize("how", ["a request", "a signal"])
async def test_run_can_be_stopped_between_attempts(tmp_path: Path, how: str) -> None:
    interrupts, transport = Interrupts(), SshTransport(timeout=60)
    with (
        closing(record_in(tmp_path, plan_of(1))) as record,
        socket.create_server(("127.0.0.1", 0)) as silent,  # so that connecting takes until then
    ):

        def hear(event: events.Event) -> None:
            if isinstance(event, events.PhaseBegan) and how == "a request":
                request_stop(record.folder, StopRequest(StopReason.STOP_REQUEST, None))
            elif isinstance(event, events.PhaseBegan):
                interrupts.send(signal.SIGTERM)

        here = host("n0", address="127.0.0.1", port=silent.getsockname()[1])
        record.spec = LaunchSpec(Job("t.py"), (here,), restarts=9)
        record.fail(Attempt(0, 0, 1.0, 2.0, 3, "it failed"))
        line = NodeConnection(here, Connector(transport))
        async with asyncio.timeout(10):
            verdict = await supervise(record, [line], hear, interrupts, transport)
        saved = load_run(record.folder)
    code, who = (130, "orch stop") if how == "a request" else (143, "SIGTERM")
    assert verdict.exit_code == code
    assert verdict.summary == f"stopped by {who} (attempt 1 of 10)"
    assert saved is not None
    assert (saved.state, saved.exit_code) == ("ended", code)
