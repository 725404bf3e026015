"""A run without a controller gets one in the background."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.diagnose.site_signatures import VARIABLE
from orchestrator.runs import background
from orchestrator.runs.background import ensure_controller, handing_over
from orchestrator.runs.lock import Controller, Lock, find_controller
from orchestrator.runs.saved_run import Ending
from tests.runs.helpers import record_in

# Takes the lock, and writes who has it when it is asked to.
SLOW_CONTROLLER = """
import fcntl, json, os, sys
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.readline()
holder = json.dumps({"pid": os.getpid(), "background": True})
os.pwrite(lock, holder.encode().ljust(os.fstat(lock).st_size), 0)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(folder: Path, *, with_spec: bool) -> None:
        pytest.fail("a controller was started")

    monkeypatch.setattr(background, "_spawn", spawn)


async def test_run_that_is_handed_over_gets_no_other_controller(tmp_path: Path) -> None:
    """Another one would lack the secrets that only the launch has."""
    record = record_in(tmp_path)
    async with handing_over(record.folder):
        record.close()
        looking = asyncio.create_task(ensure_controller(record.folder))
        await asyncio.sleep(0)
        lock = Lock.take(record.folder, background=True)
        assert lock is not None
        assert await looking == Controller(os.getpid(), True)
        lock.release()


@pytest.fixture
def slow_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """A started controller that has the lock of the run, in which its last holder is written still."""
    record_in(tmp_path).close()
    last = Lock.take(tmp_path, background=False)
    assert last is not None
    last.release()
    lock, hidden = tmp_path / "controller.lock", tmp_path / "hidden"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_CONTROLLER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert find_controller(tmp_path) == Controller(os.getpid(), False)
        lock.rename(hidden)  # until it is "started"

        def spawn(folder: Path, *, with_spec: bool) -> subprocess.Popen[bytes]:
            hidden.rename(lock)
            return process

        monkeypatch.setattr(background, "_spawn", spawn)
        yield process
        process.kill()


async def test_new_controller_is_not_mistaken_for_the_last_holder_of_the_lock(
    tmp_path: Path, slow_controller: subprocess.Popen[bytes]
) -> None:
    starting = asyncio.create_task(ensure_controller(tmp_path))
    assert await asyncio.wait({starting}, timeout=0.2) == (set(), {starting})
    assert slow_controller.stdin is not None
    slow_controller.stdin.write(b"\n")
    slow_controller.stdin.flush()
    assert await starting == Controller(slow_controller.pid, True)


async def test_ended_run_with_complete_logs_gets_no_controller(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.write_state("ended", Ending(exit_code=0, summary="all 2 ranks succeeded", missing=()))
    record.close()
    assert await ensure_controller(record.folder) is None


def test_controller_gets_absolute_paths_of_signature_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, f"a.toml{os.pathsep}/etc/b.toml")
    expected = f"{tmp_path}/a.toml{os.pathsep}/etc/b.toml"
    assert background._environment() == {**os.environ, VARIABLE: expected}
    monkeypatch.delenv(VARIABLE)
    assert background._environment() == dict(os.environ)
