"""A command's channel over SSH, as asyncssh drives it."""

from __future__ import annotations

import time

import pytest

from orchestrator.remote.ssh.channel import SshChannel


@pytest.mark.parametrize("datatype", [None, 1])
async def test_data_received_for_a_partial_report_updates_heard_at(datatype: int | None) -> None:
    channel = SshChannel("node0")
    before = time.monotonic()
    channel.heard_at = before - 100.0
    channel.data_received(b"no whole li", datatype)
    assert channel.heard_at >= before
