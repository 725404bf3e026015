"""For any answer of an agent, its controller gets a value or an error that names the node.

Answers are those of a real agent (`corpus/agent/`, which `ORCH_RECORD=1` rewrites) with changes, and random
lines. Every function that queries an agent receives them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.prune import _forget, _usage
from orchestrator.control import follower
from orchestrator.control.follower import Follower
from orchestrator.control.node_evidence import NodeEvidence, fetch_evidence
from orchestrator.control.start import start
from orchestrator.errors import OrchError
from orchestrator.hangs.snapshot import take_snapshot
from orchestrator.inventory import Host
from orchestrator.node.reasons import StopReason
from orchestrator.pipeline.connect import gather_facts
from orchestrator.pipeline.rendezvous import _route, reserve_port
from orchestrator.reasons import Stop
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.sync import placement, sharing
from tests.remote.fake import FakeNode, FakeTransport
from tests.runs.helpers import KILL, plan_of, rank, record_in

CORPUS = Path(__file__).parent / "corpus" / "agent"
HOST = Host(name="n0", address="198.18.0.1", python=sys.executable)


class Replay:
    """A node, and the channel to its agent, that answers the first request with `data` and then ends."""

    name = "n0"
    host = HOST
    warnings: tuple[str, ...] = ()
    stderr = b""

    def __init__(self, data: bytes) -> None:
        self._reader = asyncio.StreamReader(limit=1 << 20)
        self._reader.feed_data(b'{"hello": {}}\n')
        self._data: bytes | None = data

    async def open(self, script: str) -> Replay:
        return self

    async def readline(self, limit: int = 0) -> bytes:
        return await self._reader.readline()

    async def readexactly(self, n: int) -> bytes:
        return await self._reader.readexactly(n)

    async def write(self, data: bytes) -> None:
        """Answer the first request."""
        if self._data is not None:
            self._reader.feed_data(self._data)
            self._reader.feed_eof()
            self._data = None

    def write_eof(self) -> None:
        pass

    async def close(self) -> None:
        pass


class ClosingReplay(Replay):
    def close(self) -> None:  # type: ignore[override]
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "_MIN_RETRY_INTERVAL", 0.0)


Use = Callable[[Agent, Path], Awaitable[object]]


class Connection:
    is_up = True
    host = HOST

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def connect(self) -> None:
        raise OrchError("n0: the end of the conversation")

    async def close(self) -> None:
        self.is_up = False


def fleet_of(agent: Agent) -> Fleet:
    fleet = Fleet([HOST], FakeTransport())
    fleet.agents = [agent]
    return fleet


async def follow(agent: Agent, folder: Path) -> None:
    """Follow until the connection must be reopened, which fails."""
    record = record_in(folder, plan_of(2), log_limit=1_000_000)
    try:
        node = Follower(
            record.plan.nodes[0], cast(Any, Connection(agent)), record, record.note, lambda: None
        )
        await node.follow()
    finally:
        record.close()


async def stop(agent: Agent, folder: Path) -> None:
    record = record_in(folder, plan_of(2))
    try:
        plan = record.plan.nodes[0]
        await Follower(plan, cast(Any, Connection(agent)), record, record.note, lambda: None).stop(
            Stop(StopReason.INTERRUPT), 1.0
        )
    finally:
        record.close()


async def evidence(agent: Agent, folder: Path) -> NodeEvidence | None:
    record = record_in(folder, plan_of(2))
    try:
        node = Follower(
            record.plan.nodes[0], cast(Any, Connection(agent)), record, record.note, lambda: None
        )
        return await fetch_evidence(node, rank(0, KILL), 3.0)
    finally:
        record.close()


async def start_it(agent: Agent, folder: Path) -> None:
    record = record_in(folder, plan_of(2))
    try:
        await start(record.plan, [cast(Any, Connection(agent))], record.settings)
    finally:
        record.close()


USES: dict[str, Use] = {
    "facts": lambda agent, _: gather_facts(agent),
    "route": lambda agent, _: _route(fleet_of(agent), 0, "198.18.0.9"),
    "reserve": lambda agent, _: reserve_port(
        fleet_of(agent), "198.18.0.9", 29500, lambda event: None
    ),
    "shared": lambda agent, _: sharing.groups(fleet_of(agent), ["/work"], ["r-0"]),
    "find": lambda agent, _: placement.find(agent, "/work", "owner", "source"),
    "enter": lambda agent, _: placement.enter(agent, "/work", {}),
    "compare": lambda agent, _: placement.compare(agent, "r", ""),
    "settle": lambda agent, _: placement.settle(agent, "r", "/work"),
    "usage": lambda agent, _: _usage(cast(Any, Connection(agent)), "r"),
    "forget": lambda agent, _: _forget(cast(Any, Connection(agent)), "r"),
    "stacks": lambda agent, _: take_snapshot(agent, "r", "n0", limit=1.0),
    "start": start_it,
    "stop": stop,
    "evidence": evidence,
    "follow": follow,
}  # fmt: skip

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 1 << 70), st.floats(), st.text(max_size=8),
    st.sampled_from(["r-0", "running", "ended", "lost", "attempt-0/rank-0.out", "../x", 10**400]),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)  # fmt: skip
KEYS = [
    "ok", "error", "errno", "f", "o", "t", "n", "zeros", "odd", "why", "rank", "status", "left",
    "state", "launcher", "alive", "time", "problem", "bytes", "live", "failed", "source", "id",
    "interface", "processes", "sockets", "at", "kernel", "error_file", "oom_kills",
]  # fmt: skip
headers = st.dictionaries(st.sampled_from(KEYS), values, max_size=6).map(lambda h: {"id": 1, **h})
raw = st.one_of(
    headers.map(lambda header: json.dumps(header).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 50_000, b"null", b"[]", b'{"id": 1, "ok": NaN}', b'{"id": true, "ok": 1}',
                     b'{"id": 1, "n": 1.5}', b'{"id": 1, "n": true, "f": "x"}', b'{"id": 1, "n": 1e9}',
                     b'{"id": 1, "ok": ' + b"9" * 5000 + b"}", b'{"id": 1, "ok": 1e999}']),
)  # fmt: skip
random_lines = st.lists(raw, min_size=1, max_size=5).map(
    lambda lines: b"".join(x + b"\n" for x in lines)
)


def corpus(verb: str) -> list[bytes]:
    path = CORPUS / f"{verb}.txt"
    return [path.read_bytes()] if path.exists() else [b'{"id": 1, "ok": null}\n']


@st.composite
def changed(draw: st.DrawFn, verb: str) -> bytes:
    """Draw the answers of a real agent with one value of one line changed, or some of its bytes."""
    lines = draw(st.sampled_from(corpus(verb))).split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    try:
        message = json.loads(lines[at])
    except ValueError:
        message = None
    if isinstance(message, dict) and draw(st.booleans()):
        _change(draw, message)
        lines[at] = json.dumps(message).encode()
    else:
        cut = draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:cut] + draw(st.binary(max_size=6)) + lines[at][cut + 1 :]
    return b"\n".join(lines)


def _change(draw: st.DrawFn, message: Any) -> None:
    """Replace one value in the message."""
    while True:
        keys = list(message) if isinstance(message, dict) else list(range(len(message)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        below = message[key]
        if not isinstance(below, dict | list) or not below or draw(st.integers(0, 3)) == 0:
            message[key] = draw(values)
            return
        message = below


async def play(data: bytes, use: Use, folder: Path) -> None:
    agent = await Agent.open(cast(Any, ClosingReplay(data)))
    try:
        async with asyncio.timeout(20):
            await use(agent, folder)
    except OrchError as error:
        assert "n0" in str(error)
    finally:
        await agent.close()


@pytest.mark.parametrize("verb", USES)
def test_any_answer_of_an_agent_gives_a_value_or_an_error_of_its_node(
    verb: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp(verb)
    count = 0

    @given(changed(verb) | random_lines)
    def try_it(data: bytes) -> None:
        nonlocal count
        count += 1
        asyncio.run(play(data, USES[verb], root / str(count)))

    try_it()


@pytest.mark.parametrize("verb", USES)
def test_recorded_answers_of_an_agent_are_parsed(verb: str, tmp_path: Path) -> None:
    (data,) = corpus(verb)
    asyncio.run(play(data, USES[verb], tmp_path))


async def test_flood_of_unrequested_answers_takes_little_memory_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    flood = tmp_path / "python"
    flood.write_text(
        "#!/bin/sh\ncase $* in *compile) exit;; esac\n"
        'echo \'{"hello": {}}\'\nexec yes \'{"id": 77, "ok": 1}\'\n'
    )
    flood.chmod(0o755)
    node = FakeNode(Host(name="n0", address="198.18.0.1", python=str(flood)))
    agent = await Agent.open(node)
    tracemalloc.start()
    turns = 0
    loop = asyncio.get_running_loop()
    ends = loop.time() + 2.0
    while loop.time() < ends:
        turns += 1
        await asyncio.sleep(0.001)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert turns >= 20, "the event loop was not blocked"
    assert peak < 50_000_000
    await agent.close()
    await node.close()


@pytest.mark.skipif("ORCH_RECORD" not in os.environ, reason="ORCH_RECORD=1 rewrites the corpus")
async def test_record_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz.recording import record_all

    monkeypatch.setenv("HOME", str(tmp_path))
    await record_all(CORPUS, tmp_path)
