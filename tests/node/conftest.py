"""The agent as a real process: the zipapp, its stdin and stdout, a home of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import processes
from orchestrator.remote.package import node_package

Message = tuple[dict[str, Any], bytes]


class AgentProcess:
    """One agent, and the name of a run for it to start."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.run = f"test-{secrets.token_hex(4)}"
        app = home / ".local/state/orch/node" / node_package().name
        for folder in [*app.parents][3::-1]:
            folder.mkdir(mode=0o700, exist_ok=True)
        app.write_bytes(node_package().data)
        self.process = subprocess.Popen(
            [python, "-IS", str(app), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
        self._next = 0
        self.hello = self._read()[0]["hello"]

    @property
    def directory(self) -> Path:
        return self.home / ".local/state/orch/runs" / self.run / "node0"

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Return the whole answer."""
        number = self.send(verb, **arguments)
        while True:
            header, _ = self._read()
            if header["id"] == number and ("ok" in header or "error" in header):
                return header

    def send(self, verb: str, **arguments: Any) -> int:
        assert self.process.stdin is not None
        self._next += 1
        request = {"id": self._next, "verb": verb, **arguments}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return self._next

    def follow(
        self,
        offsets: dict[str, int] | None = None,
        until: Callable[[Message], bool] | None = None,
        **more: Any,
    ) -> list[Message]:
        """Follow the run to its end, or until a message for which `until` holds."""
        number = self.send("follow", run=self.run, node="node0", offsets=offsets or {}, **more)
        messages = []
        while True:
            message = self._read()
            if message[0]["id"] != number:
                continue
            messages.append(message)
            if "ok" in message[0] or "error" in message[0] or (until and until(message)):
                return messages

    def start(
        self, *argvs: list[str], launcher: bool = False, program_at: int | None = None, **more: Any
    ) -> dict[str, Any]:
        """Start one process for each of `argvs`, as ranks or as the launcher (of a program)."""
        children: list[dict[str, Any]] = [
            {
                "name": "launcher" if launcher else f"rank-{rank}",
                "argv": argv,
                "env": {},
                "rank": None if launcher else rank,
                "local_rank": None if launcher else rank,
                "program_at": program_at,
            }
            for rank, argv in enumerate(argvs)
        ]
        spec = {
            "run": self.run, "node": "node0", "attempt": 0, "cwd": str(self.home),
            "env": {}, "unset": [], "processes": children, **more,
        }  # fmt: skip
        return self.ask("start", **spec)

    def stop(self, grace: float = 3.0) -> dict[str, Any]:
        return self.ask("stop", run=self.run, node="node0", grace=grace, reason="test", detail={})

    def left(self) -> set[int]:
        """Return the live processes of the run, without its log writers."""
        return processes.without_log_writers(processes.of_run(str(self.directory)))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def _read(self) -> Message:
        assert self.process.stdout is not None
        header = json.loads(self.process.stdout.readline())
        return header, self.process.stdout.read(header.get("n", 0))


def text_of(messages: list[Message], path: str) -> bytes:
    """Return what the follow sent of one stream."""
    return b"".join(
        payload or bytes(header.get("zeros", 0))
        for header, payload in messages
        if header.get("f") == path
    )


def last_status(messages: list[Message]) -> dict[str, Any]:
    found: dict[str, Any] = [m[0]["status"] for m in messages if "status" in m[0]][-1]
    return found


def rank_records(messages: list[Message]) -> dict[int, dict[str, Any]]:
    return {m[0]["rank"]["rank"]: m[0]["rank"] for m in messages if "rank" in m[0]}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path)
    yield agent
    agent.close()
    assert processes.kill_all(str(agent.directory)) == []


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run's first attempt on this node."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = tmp_path / ".local/state/orch/runs/a-run/node0/attempt-0"
    made.mkdir(parents=True)
    return made
