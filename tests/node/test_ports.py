"""Which process listens on a port, from /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.node.ports import owner

from .conftest import AgentProcess

LISTEN = (
    "import socket, sys; s = socket.create_server(('{}', 0), family={}); "
    "print(s.getsockname()[1], flush=True); sys.stdin.read()"
)

_REST = "00000000:00000000 00:00000000 00000000"
_NO_PEER = "00000000:0000"
# 198.18.0.10:29500 of inode 4242, and [::]:29501 of inode 4243, as a little-endian machine shows them.
TCP = f"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0A0012C6:733C 0B0012C6:9C40 01 {_REST}     0        0 4250 1 0 20 4 30 10 -1
   1: 0A0012C6:733C {_NO_PEER} 0A {_REST}     0        0 4242 1 0 100 0 0 10 0
"""
TCP6 = f"""\
  sl  local_address  remote_address  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: {"0" * 32}:733D {"0" * 32}:0000 0A {_REST} 65534        0 4243 1 0 100 0 0 10 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A /proc in which process 77 has inode 4242 open, and the holder of 4243 is hidden."""
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    (tmp_path / "proc/net/tcp6").write_text(TCP6)
    (tmp_path / "proc/77/fd").mkdir(parents=True)
    (tmp_path / "proc/77/fd/0").symlink_to("/dev/null")
    (tmp_path / "proc/77/fd/3").symlink_to("socket:[4242]")
    (tmp_path / "proc/77/environ").write_bytes(b"HOME=/root\0ORCH_RUN=train-lusab\0")
    (tmp_path / "proc/77/cmdline").write_bytes(b"python\0train.py\0\x1b[2J\0")
    return tmp_path


@pytest.mark.skipif(sys.byteorder != "little", reason="the recorded files are little-endian")
def test_owner_of_port_on_an_address_or_on_all_is_printable(root: Path) -> None:
    assert owner("198.18.0.10", 29500, str(root)) == {
        "user": "root",
        "pid": 77,
        "command": "python train.py ?[2J",
        "run": "train-lusab",
    }
    found = owner("198.18.0.10", 29501, str(root))
    assert found is not None and (found["pid"], found["command"]) == (None, None)


def test_owner_of_unused_port_or_address_is_none(root: Path) -> None:
    assert owner("198.18.0.10", 29502, str(root)) is None
    assert owner("198.18.0.11", 29500, str(root)) is None
    assert owner("198.18.0.10", 29500, str(root / "empty")) is None


@pytest.mark.parametrize(
    ("address", "family"), [("127.0.0.1", "socket.AF_INET"), ("::", "socket.AF_INET6")]
)
def test_owner_of_a_real_listener_is_its_process(
    agent: AgentProcess, address: str, family: str
) -> None:
    if address == "::" and not socket.has_ipv6:
        pytest.skip("this kernel has no IPv6")
    command = [sys.executable, "-c", LISTEN.format(address, family)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        found = agent.ask("owner", address="127.0.0.1", port=port)["ok"]
        process.stdin.close()
    assert found["pid"] == process.pid
    assert found["command"].startswith(sys.executable)
    assert (found["user"] == "root") == (os.getuid() == 0)
