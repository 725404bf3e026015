"""Samples of what the ranks of a run do, and the round trips of their connections."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.node import activity, files, tcp_info


@pytest.mark.parametrize(
    ("state", "function", "kind"),
    [
        ("R", "0", "run"), ("S", "0", "run"), ("S", "futex_do_wait", "lock"),
        ("S", "futex_wait_queue_me", "lock"), ("S", "hrtimer_nanosleep", "sleep"),
        ("S", "poll_schedule_timeout.constprop.0", "poll"), ("S", "do_epoll_wait", "poll"),
        ("S", "anon_pipe_read", "pipe"), ("S", "unix_stream_read_generic", "socket"),
        ("S", "wait_woken", "socket"), ("D", "io_schedule", "disk"), ("T", "", "stopped"),
        ("S", "do_wait", "child"), ("S", "", "other"), ("I", "\ufffd", "other"),
    ],
)  # fmt: skip
def test_kind_follows_from_state_and_kernel_function(state: str, function: str, kind: str) -> None:
    assert activity.kind_of(state, function) == kind


def _until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        step()
        time.sleep(0.01)


def _record(directory: Path, rank: int, pid: int) -> None:
    files.write_json(
        str(directory / "attempt-0" / f"rank-{rank}.json"),
        {"rank": rank, "local_rank": rank, "attempt": 0, "pid": pid, "started": time.time(),
         "ended": None, "code": None, "signal": None},
    )  # fmt: skip


def test_sampler_counts_what_ranks_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_INTERVAL", 0.005)
    (tmp_path / "attempt-0").mkdir()
    environment = {**os.environ, "ORCH_DIR": str(tmp_path)}
    sources = "import time; time.sleep(100)", "while True: pass", "input()"
    ranks = [
        subprocess.Popen([sys.executable, "-c", source], env=environment, stdin=subprocess.PIPE)
        for source in sources
    ]
    sampler = activity.Sampler(str(tmp_path))
    try:
        assert sampler.report(paths=False) == {"ranks": [], "paths": []}
        for number, process in enumerate(ranks):
            _record(tmp_path, number, process.pid)

        def usual() -> list[str]:
            kinds = [each["kinds"] for each in sampler.report(paths=True)["ranks"]]
            return [max(kind, key=lambda name: kind[name], default="") for kind in kinds]

        _until(lambda: usual() == ["sleep", "run", "pipe"], sampler.step)
        assert [each["pid"] for each in sampler.report(paths=False)["ranks"]] == [
            process.pid for process in ranks
        ]
        ranks[1].kill()
        ranks[1].wait()
        sampler.step()  # it has ended, and that is no error
    finally:
        sampler.close()
        for process in ranks:
            process.kill()
            process.communicate()


def test_sampler_is_over_once_it_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = activity.Sampler(str(tmp_path))
    assert not sampler.is_over
    monkeypatch.setattr(activity, "_UNASKED", -1.0)
    assert sampler.is_over
    assert sampler.report(paths=False) == {"ranks": [], "paths": []}


def test_connection_has_the_round_trip_that_the_kernel_measured() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as other,
    ):
        client.sendall(b"x" * 1000)
        assert other.recv(2000)
        inode = os.fstat(client.fileno()).st_ino
        (path,) = [each for each in tcp_info.established() if each.inode == inode]
        assert (path.local, path.remote) == ("127.0.0.1", "127.0.0.1")
        assert 0 < path.min_rtt <= path.rtt < 10
        assert path.acked >= 1000
        assert tcp_info.paths([os.getpid()]) == []  # both ends are here


@pytest.mark.parametrize("data", [b"", b"\0" * 16, b"\xff" * 200, b"\x48\0\0\0\x14\0" + b"\0" * 10])
def test_torn_answer_of_the_kernel_has_no_connections(data: bytes) -> None:
    assert list(tcp_info.parse(data)) == []
