"""Who holds a port or a file."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.node.probes import holders


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


LISTENS = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def another(code: str, *words: str, **environment: str) -> Iterator[tuple[int, str]]:
    """Run `code` in another process; yield its pid and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def test_holder_of_a_port_has_process_user_command_age_and_run() -> None:
    with another(LISTENS, ORCH_RUN="other-run", RANK="2") as (pid, line):
        (found,) = holders.ports([int(line)])
    assert (found["port"], found["waiting"]) == (int(line), 0)
    (holder,) = found["holders"]
    assert (holder["pid"], holder["listens"], holder["address"]) == (pid, True, "127.0.0.1")
    assert (holder["run"], holder["rank"]) == ("other-run", "2")
    assert holder["command"].startswith(sys.executable)
    assert 0 <= holder["age"] < 600
    assert holder["user"]


def test_free_port_has_no_holder() -> None:
    with listening() as port:
        pass
    assert holders.ports([port]) == [{"port": port, "holders": [], "waiting": 0}]


def test_port_of_an_outgoing_connection_is_held_without_listening() -> None:
    with (
        another(LISTENS) as (_, line),
        socket.create_connection(("127.0.0.1", int(line))) as client,
    ):
        (found,) = holders.ports([client.getsockname()[1]])
    # This process asks, so it is not named among those that hold descriptors; the socket is.
    assert [holder["listens"] for holder in found["holders"]] == [False]


LOCKS = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_holder_of_a_lock_is_found_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "build.lock"
    with another(LOCKS, str(path)) as (pid, _):
        (found,) = holders.files([str(path)])
    assert (found["path"], found["exists"]) == (str(path), True)
    assert [(holder["pid"], holder["locks"]) for holder in found["holders"]] == [(pid, True)]


def test_lock_that_nobody_holds_has_no_holders(tmp_path: Path) -> None:
    path = tmp_path / "left.lock"
    path.touch()
    (found,) = holders.files([str(path)])
    assert (found["holders"], found["exists"]) == ([], True)
    assert found["age"] < 600
    (gone,) = holders.files([str(tmp_path / "gone.lock")])
    assert (gone["exists"], gone["age"]) == (False, None)


@pytest.mark.parametrize(
    "line",
    ["", "1: FLOCK", "1: -> FLOCK ADVISORY WRITE 7 08:01:3 0 EOF", "1: FLOCK ADVISORY WRITE x y z 0 EOF",
     "1: FLOCK ADVISORY WRITE 7 zz:01:3 0 EOF"],
)  # fmt: skip
def test_odd_lines_of_locks_are_skipped(tmp_path: Path, line: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/locks").write_text(f"{line}\n")
    assert holders._locked(str(tmp_path)) == {}


def test_lock_of_this_process_counts(tmp_path: Path) -> None:
    path = tmp_path / "own.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (found,) = holders.files([str(path)])
    assert [holder["pid"] for holder in found["holders"]] == [os.getpid()]
