"""The script of a trial, as a node runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.preflight import collectives
from orchestrator.preflight.collectives.task import AllReduced, Done, Exchanged, Summed, Task
from orchestrator.preflight.collectives.trial import OutputParser

pytestmark = pytest.mark.torch

SCRIPT = Path(collectives.__file__).with_name("all_reduce.py")
MARK = "m "


def run(task: Task, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run it as the `python` launcher does on the first node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.run(
        [sys.executable, "-u", SCRIPT, task.argument],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", **place, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_script_with_only_a_node_rank_starts_the_other_ranks_of_its_node() -> None:
    task = Task("gloo", (2,), (1000, 4000), (), 0.05, 30, 50, MARK)
    done = run(task)
    assert done.returncode == 0, done.stderr.decode()
    parser = OutputParser(MARK.encode())
    parser.feed(done.stdout)
    assert {message for message in parser.messages if isinstance(message, Summed)} == {
        Summed(rank, size, right=True) for rank in (0, 1) for size in (1000, 4000)
    }
    assert [message.size for message in parser.messages if isinstance(message, AllReduced)] == [
        1000,
        4000,
    ]
    assert {message for message in parser.messages if isinstance(message, Done)} == {
        Done(0),
        Done(1),
    }
    assert not [message for message in parser.messages if isinstance(message, Exchanged)]


def test_rank_that_nobody_joins_exits_with_a_traceback() -> None:
    done = run(Task("gloo", (1, 1), (1000,), (), 0.05, join_timeout=0, limit=30, mark=MARK))
    assert done.returncode == 1
    assert b"init_process_group" in done.stderr
    assert done.stdout == b""
