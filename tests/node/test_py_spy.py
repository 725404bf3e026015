"""py-spy: its dumps are used, and any failure of it is reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.node.py_spy import find_spy, spy_on
from tests.node.conftest import AgentProcess
from tests.node.test_stacks import ask, up, waiting

THREAD = {
    "thread_name": "MainThread",
    "os_thread_id": 0,
    "frames": [{"name": "main", "filename": "/job/a.py", "line": 3}],
}


def spy(folder: Path, body: str) -> str:
    """A py-spy with this script; $4 is the process to dump."""
    path = folder / "py-spy"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def test_spy_on_has_threads_or_an_error_of_each_process(tmp_path: Path) -> None:
    body = (
        f"echo '{json.dumps([THREAD])}'\n"
        '[ "$4" = 7 ] && { echo "Permission Denied: try sudo" >&2; exit 1; }\nexit 0'
    )
    found, failed = spy_on(spy(tmp_path, body), list(range(1, 20)), time.monotonic() + 20)
    assert sorted(found) == [pid for pid in range(1, 20) if pid != 7]
    assert found[1][0]["frames"] == [["main", "/job/a.py", 3]]
    assert failed == {7: "py-spy: Permission Denied: try sudo"}


@pytest.mark.parametrize("body", ["echo '{'", "echo '[3]'", "kill -9 $$", "exit 3"])
def test_spy_that_fails_is_an_error_of_the_process(tmp_path: Path, body: str) -> None:
    found, failed = spy_on(spy(tmp_path, body), [1], time.monotonic() + 20)
    assert (found, list(failed)) == ({}, [1])


def test_spy_that_hangs_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    _, failed = spy_on(spy(tmp_path, "exec sleep 1000"), [1, 2], began + 0.5)
    assert failed == {1: "py-spy took too long", 2: "py-spy took too long"}
    assert time.monotonic() - began < 5


def test_spy_of_the_jobs_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "path").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_spy() is None
    on_path = spy(tmp_path / "path", "exit 0")
    assert find_spy() == on_path
    beside = spy(tmp_path / "venv", "exit 0")
    assert find_spy() == beside


def test_stacks_with_failing_spy_use_the_signal(
    agent: AgentProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    spy(tmp_path / "bin", "exit 1")
    agent.close()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    second = AgentProcess(agent.home)
    second.run = agent.run
    try:
        second.start([sys.executable, "-u", waiting(tmp_path)])
        up(second)
        (process,) = ask(second)
        assert (process["by"], process["why"]) == ("signal", "")
    finally:
        stop = second.ask("stop", run=second.run, node="node0", grace=0, reason="x", detail={})
        assert "ok" in stop, stop
        second.follow()
        second.close()


@pytest.mark.skipif(shutil.which("py-spy") is None, reason="py-spy is not on the PATH")
def test_real_py_spy_prints_what_is_expected() -> None:
    real = shutil.which("py-spy")
    assert real is not None
    source = "import time\ndef rest():\n    print(flush=True)\n    time.sleep(1000)\nrest()\n"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found, failed = spy_on(real, [process.pid], time.monotonic() + 20)
        process.kill()
    assert failed == {}
    (main,) = [thread for thread in found[process.pid] if thread["main"]]
    assert [frame[0] for frame in main["frames"]] == ["rest", "<module>"]
