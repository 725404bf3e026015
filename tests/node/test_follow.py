"""Following a run's files: every byte once, from any offset, to the end."""

from __future__ import annotations

import hashlib
import os
from unittest import mock

from orchestrator.node import linux
from orchestrator.node.follow import Follower

from .conftest import AgentProcess, last_status, text_of

OUT = "attempt-0/rank-0.out"


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_sends_every_byte_of_a_large_stream_once(agent: AgentProcess) -> None:
    agent.start(sh("head -c 30000000 /dev/urandom | tee copy"))
    messages = agent.follow()
    got = text_of(messages, OUT)
    want = (agent.home / "copy").read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(want).digest()
    position = 0
    for header, payload in messages:
        if header.get("f") == OUT:
            assert header["o"] == position
            position += len(payload)


def test_resumes_from_an_offset(agent: AgentProcess) -> None:
    agent.start(sh("printf 0123456789"))
    agent.follow()
    assert text_of(agent.follow({OUT: 4}), OUT) == b"456789"
    assert text_of(agent.follow({OUT: 10}), OUT) == b""


def test_output_arrives_while_the_rank_goes_on(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("echo one; read x < gate; echo two"))
    agent.follow(until=lambda m: m[1] == b"one\n")
    (agent.home / "gate").write_text("go\n")
    assert text_of(agent.follow(), OUT) == b"one\ntwo\n"


def test_the_follow_ends_after_the_last_byte_however_early_the_end_is_told(
    agent: AgentProcess,
) -> None:
    agent.start(sh("head -c 3000000 /dev/zero; echo err >&2; exit 1"))
    messages = agent.follow()
    assert last_status(messages)["state"] == "ended"
    assert "ok" in messages[-1][0]
    assert len(text_of(messages, OUT)) == 3_000_000
    assert text_of(messages, "attempt-0/rank-0.err") == b"err\n"


def test_an_agent_without_inotify_sends_the_same(agent: AgentProcess) -> None:
    # The kernel's limit is per user and shared, so the call is made to fail in a unit test instead.
    agent.start(sh("echo one; echo two"))
    agent.follow()
    sent: list[bytes] = []
    with mock.patch.object(linux, "Inotify", side_effect=OSError(24, "Too many open files")):
        follower = Follower(str(agent.directory), {}, lambda header, data: sent.append(data))
    assert follower.descriptors() == []
    while not follower.finished:
        follower.step()
    follower.close()
    assert b"".join(sent) == b"one\ntwo\n"
