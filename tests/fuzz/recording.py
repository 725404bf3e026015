"""Record the answers of a real agent, without its greeting: one file per verb."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from orchestrator.remote.agent import Agent
from orchestrator.remote.process import ProcessChannel
from tests.fuzz.test_agent import HOST
from tests.remote.fake import FakeNode

STATUS = {
    "state": "ended", "attempt": 0, "pid": 1, "start": 1, "began": 1.0, "ended": 2.0, "launcher": None,
    "stopped": None, "stopped_at": None, "left": [],
}  # fmt: skip
RANK = {
    "rank": 0, "local_rank": 0, "attempt": 0, "pid": 17, "started": 1.0, "ended": 2.0, "code": 1,
    "signal": None, "world_size": 2, "error_file": "/nowhere", "oom_kills": 0,
}  # fmt: skip


class Recorded:
    """A channel that keeps what was read from it."""

    def __init__(self, channel: ProcessChannel) -> None:
        self._channel = channel
        self.data = b""

    async def readline(self, limit: int = 1 << 20) -> bytes:
        line = await self._channel.readline(limit)
        self.data += line
        return line

    async def readexactly(self, n: int) -> bytes:
        data = await self._channel.readexactly(n)
        self.data += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class RecordedNode(FakeNode):
    """A node whose channels are recorded."""

    async def open(self, script: str) -> Any:
        self.recorded = Recorded(await super().open(script))
        return self.recorded


def make_run(home: Path) -> None:
    """Create the files of a run, and a few more."""
    attempt = home / ".local/state/orch/runs/r/n0/attempt-0"
    attempt.mkdir(parents=True)
    (attempt.parent / "status.json").write_text(json.dumps(STATUS))
    (attempt / "rank-0.json").write_text(json.dumps(RANK))
    (attempt / "rank-0.out").write_bytes(b"one\ntwo\n")
    (attempt / "rank-1.err").write_bytes(b"x")
    os.truncate(attempt / "rank-1.err", 10 << 20)
    os.mkfifo(attempt / "rank-7.out")


async def record_all(corpus: Path, home: Path) -> None:
    """Record each verb in a separate file in `corpus`."""
    requests: dict[str, dict[str, Any]] = {
        "facts": {},
        "route": {"address": "127.0.0.1"},
        "reserve": {"address": "127.0.0.1", "preferred": 29500, "exact": False},
        "shared": {"workdir": str(home), "tokens": ["r-0"]},
        "usage": {"limit": 5.0, "runs": [["r", "n0"]]},
        "stacks": {"limit": 5.0, "run": "r", "node": "n0", "brief": False},
        "evidence": {
            "limit": 5.0, "run": "r", "node": "n0", "attempt": 0, "rank": 0, "killed": False
        },
        "stop": {"run": "r", "node": "n0", "grace": 1.0, "reason": "x", "detail": {}},
        "follow": {},
        "forget": {"limit": 5.0, "runs": [["r", "n0"]]},
    }  # fmt: skip
    make_run(home)
    (home / ".orch-sentinel-r-0").touch()
    corpus.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    for verb, arguments in requests.items():
        node = RecordedNode(HOST)
        agent = await Agent.open(node)
        greeting = len(node.recorded.data)
        if verb == "follow":
            async for _ in agent.follow("r", {}):
                pass
        else:
            await agent.ask(verb, **arguments)
        said = node.recorded.data[greeting:].decode()
        for of_here, anywhere in (
            (str(home), "/home/user"),
            (sys.executable, "/usr/bin/python3"),
            (socket.gethostname(), "n0"),
        ):
            said = said.replace(of_here, anywhere)
        (corpus / f"{verb}.txt").write_text(said)
        await agent.close()
        await node.close()
