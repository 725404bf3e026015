"""One controller a run."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.runs.lock import Controller, Lock, find_controller, starting

HOLD = """
import sys
from pathlib import Path
from orchestrator.runs.lock import Lock
print(Lock.take(Path(sys.argv[1]), background=True) is not None, flush=True)
sys.stdin.read()
"""

Hold = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Let another process take the lock, and hold it if it gets it."""
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path], stdin=-1, stdout=-1, text=True
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate(timeout=10)


def got_it(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "True\n"


def test_suspended_controller_is_detected(tmp_path: Path, hold: Hold) -> None:
    process = hold()
    assert got_it(process)
    controller = find_controller(tmp_path)
    assert controller is not None and not controller.is_suspended
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert controller.is_suspended
    process.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert not controller.is_suspended
    assert not Controller(0, True).is_suspended


def test_run_without_a_lock_has_no_controller(tmp_path: Path) -> None:
    assert find_controller(tmp_path) is None
    assert find_controller(tmp_path / "no such run") is None


def test_controller_is_the_holder_until_release(tmp_path: Path) -> None:
    for background in (True, False):
        lock = Lock.take(tmp_path, background=background)
        assert lock is not None
        assert find_controller(tmp_path) == Controller(os.getpid(), background)
        lock.release()
        assert find_controller(tmp_path) is None


def test_lock_has_one_holder_and_is_free_after_its_end(tmp_path: Path, hold: Hold) -> None:
    holder = hold()
    assert got_it(holder)
    assert find_controller(tmp_path) == Controller(holder.pid, True)
    assert Lock.take(tmp_path, background=False) is None
    assert not got_it(hold())
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert find_controller(tmp_path) is None
    assert got_it(hold())


def test_lock_taken_by_many_at_once_has_one_holder(hold: Hold) -> None:
    assert sorted(map(got_it, [hold() for _ in range(3)])) == [False, False, True]


def test_child_of_the_holder_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path, background=True)
    assert lock is not None
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    assert find_controller(tmp_path) is None
    child.communicate(timeout=10)


def test_find_controller_does_not_prevent_taking_the_lock(tmp_path: Path) -> None:
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            find_controller(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(30):
            lock = Lock.take(tmp_path, background=True)
            assert lock is not None
            lock.release()
    finally:
        end.set()
        for looker in lookers:
            looker.join(10)


def test_removed_run_has_no_lock(tmp_path: Path) -> None:
    assert Lock.take(tmp_path / "no such run", background=True) is None


def test_run_removed_while_waiting_for_its_lock_has_none(tmp_path: Path) -> None:
    holder = Lock.take(tmp_path, background=True)
    assert holder is not None
    taken: list[Lock | None] = []
    waiter = threading.Thread(target=lambda: taken.append(Lock.take(tmp_path, background=True)))
    path = tmp_path / "controller.lock"
    waiter.start()
    deadline = time.monotonic() + 5
    while opened(path) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)  # a poll interval
    path.unlink()
    holder.release()
    waiter.join(10)
    assert taken == [None]


def opened(path: Path) -> int:
    """Return how often this process has opened the file."""
    return sum(file.resolve() == path for file in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "1", "background": true}', b"\xff"])
def test_holder_without_a_valid_file_is_a_controller(tmp_path: Path, text: bytes) -> None:
    lock = Lock.take(tmp_path, background=False)
    assert lock is not None
    (tmp_path / "controller.lock").write_bytes(text)
    assert find_controller(tmp_path) == Controller(0, True)
    lock.release()


def test_lock_can_be_taken_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = Lock.take(tmp_path, background=True)
    monkeypatch.undo()
    assert lock is not None
    assert find_controller(tmp_path) == Controller(0, True)
    lock.release()


def test_controller_on_another_machine_has_no_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local process with that PID is another one: it is not shown or inspected."""
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    lock = Lock.take(tmp_path, background=True)
    assert lock is not None
    monkeypatch.undo()
    assert find_controller(tmp_path) == Controller(0, True)
    lock.release()


def test_lock_of_an_earlier_version_has_a_pid(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path, background=True)
    assert lock is not None
    (tmp_path / "controller.lock").write_text('{"pid": 17, "background": true}')
    assert find_controller(tmp_path) == Controller(17, True)
    lock.release()


# -- starting a controller ----------------------------------------------------------------------


@contextmanager
def starter(folder: Path) -> Iterator[None]:
    """Act as another process that starts a controller and is suspended meanwhile."""
    with (folder / "controller.starting").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def test_starting_admits_one_at_a_time(tmp_path: Path) -> None:
    inside = most = 0

    async def start() -> None:
        nonlocal inside, most
        async with starting(tmp_path, 60):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(start() for _ in range(6)))
    assert most == 1


async def test_starting_stops_waiting_once_there_is_a_controller(tmp_path: Path) -> None:
    with starter(tmp_path):
        waiting = asyncio.create_task(enter(tmp_path, 600))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        lock = Lock.take(tmp_path, background=True)
        assert lock is not None
        async with asyncio.timeout(30):
            await waiting
        lock.release()


async def test_starting_continues_after_its_timeout(tmp_path: Path) -> None:
    with starter(tmp_path):
        async with asyncio.timeout(30):
            await enter(tmp_path, 0.2)


async def test_starting_continues_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    await enter(tmp_path / "no such run", 600)
    monkeypatch.setattr(fcntl, "flock", none)
    await enter(tmp_path, 600)


async def enter(folder: Path, patience: float) -> None:
    async with starting(folder, patience):
        pass
