"""Connections that are stuck, from the kernel's tables."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node import sockets
from orchestrator.node.sockets import Connection, parse

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on little-endian")

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 0B0012C6:E2A4 0A0012C6:10E1 02 00000001:00000000 01:00000190 00000003     0        0 22 2 0000000000000000 800 0 0 1 7
   2: 0B0012C6:E2A6 0A0012C6:10E1 01 000003E8:00000000 01:00000321 00000005     0        0 33 2 0000000000000000 3200 4 30 1 7
   3: 0B0012C6:E2A8 0A0012C6:10E1 01 00000000:00000000 00:00000000 00000000     0        0 44 1 0000000000000000 20 4 30 10 -1
"""  # noqa: E501
TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000B0012C6:D2F0 0000000000000000FFFF00000A0012C6:733C 02 00000001:00000000 01:00000062 00000001     0        0 55 2 0000000000000000 100 0 0 1 7
   1: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C350 01 00000030:00000000 01:00000015 00000000     0        0 66 4 0000000000000000 23 4 31 10 -1
"""  # noqa: E501


def test_parse_reads_every_state() -> None:
    listening, connecting, unacked, well = parse(TABLE)
    me, peer = "198.18.0.11", ("198.18.0.10", 4321)
    assert connecting == Connection(2, (me, 58020), peer, 1, 3, 0, 22)
    assert unacked == Connection(1, (me, 58022), peer, 1000, 5, 0, 33)
    assert [c.is_stuck for c in (listening, connecting, unacked, well)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_parse_of_mapped_ipv4_is_ipv4() -> None:
    mapped, real = parse(TABLE6)
    assert mapped.remote == ("198.18.0.10", 29500)
    assert real.local == ("2001:db8::1", 22)
    assert not real.is_stuck  # what was just sent is not acknowledged yet


@given(st.text(), st.integers(0, len(TABLE)))
def test_parse_of_any_text_raises_nothing(noise: str, cut: int) -> None:
    for text in (noise, TABLE[:cut] + noise, "header\n" + noise, TABLE6[cut:]):
        for connection in parse(text):
            assert connection.unacked >= 0 <= connection.retransmits


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """A listener with a full queue, which answers no more SYNs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(2):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        yield listener.getsockname()
        for one in waiting:
            one.close()


def test_stuck_finds_a_connection_without_answer(
    full: tuple[str, int],
) -> None:
    with socket.socket() as connecting:
        connecting.setblocking(False)
        connecting.connect_ex(full)
        found = [s for s in sockets.stuck([os.getpid(), 1 << 30]) if s["state"] == "connecting"]
        local = list(connecting.getsockname())
        assert [(s["pid"], s["remote"]) for s in found if s["local"] == local] == [
            (os.getpid(), list(full))
        ]
    assert all(s["local"] != local for s in sockets.stuck([os.getpid()]))
