"""A command's channel over SSH, as asyncssh drives it."""

from __future__ import annotations

import time

import pytest

from orchestrator.remote.ssh.channel import SshChannel


@pytest.mark.parametrize("datatype", [None, 1])
async def test_part_of_a_report_counts_as_heard(datatype: int | None) -> None:
    channel = SshChannel("node0")
    before = time.monotonic()
    channel.heard_at = before - 100.0
    channel.data_received(b"no whole li", datatype)
    assert channel.heard_at >= before
