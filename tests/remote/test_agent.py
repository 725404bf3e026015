"""The agent: uploaded to a node once, sent requests, followed, and not trusted."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.errors import NodeError, Unreachable
from orchestrator.inventory import Host
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.remote.embedded.cluster import LocalCluster
from orchestrator.remote.package import node_package
from orchestrator.remote.reports import Chunk, RankReport, StatusReport, parse
from orchestrator.remote.ssh.connect import connect_all
from tests.remote.fake import FakeNode


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def node(python: str = sys.executable) -> FakeNode:
    return FakeNode(Host(name="node0", address="198.18.0.1", python=python))


async def test_agent_is_uploaded_only_if_missing(home: Path) -> None:
    first, second = node(), node()
    await (await Agent.open(first)).close()
    await (await Agent.open(second)).close()
    assert [sum("cat >" in script for script in n.scripts) for n in (first, second)] == [1, 0]
    stored = sorted(path.suffixes[-1] for path in (home / ".local/state/orch/node").iterdir())
    assert stored == [".pyz", ".pyz"]  # the zipapp and its compiled copy, no partial file
    await first.close()
    await second.close()


async def test_ask_returns_the_answer_or_raises_with_the_node_name(home: Path) -> None:
    fake = node()
    agent = await Agent.open(fake)
    assert (await agent.ask("facts"))["home"] == str(home)
    with pytest.raises(AgentRefusal, match=r"node0: .*Not a directory"):
        await agent.ask("prepare", workdir="/dev/null/x", token="t")
    await agent.close()
    await fake.close()


async def test_open_without_python_reports_the_remedy(home: Path) -> None:
    fake = node("/no/such/python")
    with pytest.raises(NodeError, match="there is no Python at '/no/such/python'") as caught:
        await Agent.open(fake)
    assert "`python:`" in str(caught.value)
    await fake.close()


async def test_open_with_an_unsuitable_python_reports_its_version(home: Path) -> None:
    old = home / "old"
    old.write_text(
        '#!/bin/sh\n[ "$1" = -V ] && echo Python 3.6.9 && exit\necho SyntaxError >&2; exit 1\n'
    )
    old.chmod(0o755)
    fake = node(str(old))
    with pytest.raises(NodeError, match=r"\(Python 3.6.9\) cannot run orch's agent: SyntaxError"):
        await Agent.open(fake)
    await fake.close()


async def test_open_with_an_unwritable_home_is_reported(home: Path) -> None:
    (home / ".local").write_text("a file where a folder should be")
    fake = node()
    with pytest.raises(NodeError, match="cannot be written to"):
        await Agent.open(fake)
    await fake.close()


def command_line_of(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


async def test_agent_in_place_is_checked_and_run_by_one_python(home: Path) -> None:
    await (await Agent.open(first := node())).close()
    await first.close()
    counting = home / "python"
    counting.write_text(f'#!/bin/sh\necho $$ >> {home}/pids\nexec {sys.executable} "$@"\n')
    counting.chmod(0o755)
    fake = node(str(counting))
    agent = await Agent.open(fake)
    assert len((home / "pids").read_text().split()) == 1
    shown = command_line_of((home / "pids").read_text().strip())
    *_, zipapp, verb, _, _ = shown
    assert (Path(zipapp).name, verb) == (node_package().name, "serve")
    assert max(map(len, shown)) < 300  # without the text of the check
    await agent.close()
    await fake.close()


def impostor(home: Path, *lines: str) -> FakeNode:
    """A node whose Python prints these lines instead of running the agent, then waits."""
    script = home / "impostor"
    text = "".join(f"{line}\n" for line in ('{"hello": {}}', *lines))
    (home / "lines").write_text(text)
    script.write_text(
        f"#!/bin/sh\nread request < /dev/null\ncat {home}/lines\ncat > /dev/null; :\n"
    )
    script.chmod(0o755)
    return node(str(script))


@pytest.mark.parametrize(
    "line",
    [
        "not JSON",
        "[]",
        "null",
        '{"id": 1, "n": -1}',
        '{"id": 1, "n": 99999999999}',
        '{"id": {}, "ok": 1}',
        "[" * 100_000,
        '{"ok": 1}',
    ],
)
async def test_agent_with_unexpected_output_fails_without_hanging(home: Path, line: str) -> None:
    fake = impostor(home, line)
    agent = await Agent.open(fake)
    with pytest.raises(NodeError, match="node0"):
        await agent.ask("facts", timeout=5)
    with pytest.raises(NodeError, match="node0"):
        async for _ in agent.follow("run", {}):
            pass
    await agent.close()
    await fake.close()


async def test_agent_that_ends_within_a_report_is_reported_as_ended(home: Path) -> None:
    fake = impostor(home, '{"id": 1, "f": "attempt-0/rank-0.out", "o": 0, "t": 0, "n": 100}')
    (home / "impostor").write_text(f"#!/bin/sh\ncat {home}/lines; read request\n")
    agent = await Agent.open(fake)
    with pytest.raises(NodeError, match="node0: the agent ended in the middle of a report"):
        await agent.ask("facts", timeout=5)
    await agent.close()
    await fake.close()


async def test_ask_of_a_silent_agent_times_out(home: Path) -> None:
    fake = impostor(home)
    agent = await Agent.open(fake)
    with pytest.raises(NodeError, match=r"no answer to .facts. within 0\.2 s"):
        await agent.ask("facts", timeout=0.2)
    await agent.close()
    await fake.close()


async def test_lost_connection_fails_waiting_callers(home: Path) -> None:
    fake = impostor(home)
    agent = await Agent.open(fake)
    fake.drop()
    with pytest.raises(NodeError):
        await agent.ask("facts", timeout=5)
    await agent.close()
    await fake.close()


async def test_abandoned_agent_fails_waiting_callers(home: Path) -> None:
    fake = node()
    agent = await Agent.open(fake)
    run = home / ".local/state/orch/runs/r/node0"
    run.mkdir(parents=True, mode=0o700)
    status = {"state": "running", "attempt": 0, "pid": os.getpid(), "start": _start_of(os.getpid())}
    more: dict[str, Any] = {"launcher": None, "stopped": None, "stopped_at": None, "left": []}
    (run / "status.json").write_text(json.dumps({**status, **more}))

    async def follow() -> None:
        async for _ in agent.follow("r", {}):
            pass

    following = asyncio.create_task(follow())
    assert await agent.ask("heard", run="r", node="node0") == {"renewed": False}
    assert not following.done()
    await agent.abandon("the agent has not answered for 12 s")
    with pytest.raises(NodeError, match="node0: the agent has not answered for 12 s"):
        await asyncio.wait_for(following, 5)
    assert agent.has_failed
    await agent.close()
    await fake.close()


class ScriptedNode:
    """A node that is also its agent's channel; it sends `said`, and accepts nothing while `blocked`."""

    name = "node0"
    host = Host(name="node0", address="198.18.0.1")
    stderr = b""

    def __init__(self, *said: dict[str, Any], blocked: bool = False) -> None:
        self._said = [json.dumps(line).encode() + b"\n" for line in ({"hello": {}}, *said)]
        self._blocked = blocked
        self.ended = asyncio.Event()

    async def open(self, script: str) -> ScriptedNode:
        return self

    async def readline(self, limit: int = 0) -> bytes:
        if not self._said:
            await self.ended.wait()
            return b""
        return self._said.pop(0)

    async def write(self, data: bytes) -> None:
        if self._blocked:
            await asyncio.Event().wait()

    def write_eof(self) -> None:
        pass

    close = write_eof


async def test_ask_that_cannot_be_sent_times_out() -> None:
    agent = await Agent.open(cast(Any, ScriptedNode(blocked=True)))
    async with asyncio.timeout(5):
        with pytest.raises(NodeError, match=r"no answer to .facts. within 0\.05 s"):
            await agent.ask("facts", timeout=0.05)
    await agent.close()


async def test_follow_left_while_the_agent_ends_does_not_block_other_follows() -> None:
    """The follow that is left has a full queue, so the end of the agent waits for room in it."""
    chunk = {"id": 1, "f": "attempt-0/rank-0.out", "o": 0, "t": 0}
    node = ScriptedNode(*[chunk] * 9)
    agent = await Agent.open(cast(Any, node))
    async with (
        aclosing(agent.follow("run", {})) as full,
        aclosing(agent.follow("run", {})) as other,
    ):
        await anext(full)
        waiting = asyncio.create_task(anext(other))
        await asyncio.sleep(0)
        node.ended.set()
        for _ in range(20):  # enough turns of the loop until all tasks wait
            await asyncio.sleep(0)
        await full.aclose()
        with pytest.raises(NodeError, match="the agent ended"):
            await asyncio.wait_for(waiting, 5)
    await agent.close()


STATUS: dict[str, Any] = {"state": "running", "launcher": None, "left": []}
RANK: dict[str, Any] = {
    "rank": 0, "local_rank": 0, "attempt": 0, "pid": 1, "started": 0.0, "ended": None,
    "code": None, "signal": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"f": 1, "o": 0, "t": 0},
        {"f": "x", "o": -1, "t": 0},
        {"rank": {**RANK, "rank": "0"}},
        {"rank": {**RANK, "ended": 1.0}},
        {"rank": {**RANK, "ended": 1.0, "code": 1, "signal": 9}},
        {"status": {**STATUS, "state": "\x1b[31m"}},
        {"status": {**STATUS, "left": ["1"]}},
        {"status": {**STATUS, "stopped": 5}},
        {"status": {**STATUS, "stopped_at": "x"}},
        {"status": {**STATUS, "behind": {"processes": [[1]], "limit": 1.0, "ended": False}}},
        {
            "status": {
                **STATUS,
                "behind": {"processes": [["1", "sh"]], "limit": 1.0, "ended": False},
            }
        },
        {"status": {**STATUS, "behind": {"processes": [], "limit": math.nan, "ended": False}}},
        {"status": None},
        *({"f": "x", "o": 0, "t": t} for t in (math.nan, math.inf, -1.0, 1e308, 10**400)),
        *({"rank": {**RANK, "started": t}} for t in (math.nan, 1e308)),
        {"rank": {**RANK, "ended": math.nan, "code": 1}},
        {"rank": {**RANK, "ended": 1.0, "code": 256}},  # a shell would see 0, success
        {"rank": {**RANK, "ended": 1.0, "signal": 128}},
        {"rank": {**RANK, "pid": 10**400}},
        {"rank": {**RANK, "world_size": -1}},
        {"status": {**STATUS, "stopped_at": math.nan}},
    ],
)
def test_parse_of_an_invalid_report_raises(header: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse(json.loads(json.dumps(header)), b"")


def test_parse_of_a_valid_report_returns_it() -> None:
    assert parse({"f": "attempt-0/rank-0.out", "o": 5, "t": 1.5}, b"x") == Chunk(
        "attempt-0/rank-0.out", 5, 1.5, b"x"
    )


def test_parse_of_a_rank_reads_its_world_size() -> None:
    reports = [parse({"rank": record}, b"") for record in (RANK, {**RANK, "world_size": 4})]
    assert [report.world_size for report in reports if isinstance(report, RankReport)] == [0, 4]


def test_parse_of_a_status_reads_why_the_run_was_stopped() -> None:
    why = {"stopped": "time-limit", "stopped_detail": {"seconds": 9}, "stopped_at": 5}
    said = {**STATUS, "state": "stopping", **why}
    report = parse({"status": said}, b"")
    assert report == StatusReport(
        "stopping", None, (), Stop(StopReason.TIME_LIMIT, seconds=9.0), 5.0
    )
    assert parse({"status": STATUS}, b"") == StatusReport("running", None, (), None)


def test_parse_shortens_and_escapes_a_reason() -> None:
    report = parse({"status": {**STATUS, "stopped": "\x1b[31m" + "lo\n" * 1000}}, b"")
    assert isinstance(report, StatusReport)
    assert report.stopped is not None
    assert str(report.stopped).isprintable() and len(str(report.stopped)) <= 500


async def test_follow_of_an_absent_run_reports_absent_and_ends(home: Path) -> None:
    fake = node()
    agent = await Agent.open(fake)
    reports = [report async for report in agent.follow("no-such-run", {}, quiet=True)]
    assert reports == [StatusReport("absent", None, ())]
    await agent.close()
    await fake.close()


async def test_follow_that_is_left_also_ends_on_the_node(home: Path) -> None:
    """The node must stop sending the unread data and close its files."""
    fake = node()
    agent = await Agent.open(fake)
    folder = home / ".local/state/orch/runs/babad-dabab/node0"
    (folder / "attempt-0").mkdir(parents=True)
    status = {
        "state": "running", "pid": os.getpid(), "start": _start_of(os.getpid()), "began": 0.0,
        "ended": None, "launcher": None, "stopped": None, "left": [],
    }  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "attempt-0/rank-0.out").write_bytes(b"bytes\n")
    before = await _descriptors(agent)
    for _ in range(3):
        async with aclosing(agent.follow("babad-dabab", {})) as reports:
            async for report in reports:
                if isinstance(report, Chunk):
                    break
    assert await _descriptors(agent) == before
    await agent.close()
    await fake.close()


async def _descriptors(agent: Agent) -> int:
    """Return how many descriptors the agent has open after it has handled all requests."""
    await agent.ask("facts")
    return _count_descriptors()


def _count_descriptors() -> int:
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    (agent,) = [entry for entry in entries if _is_our_agent(entry)]
    return len(list((agent / "fd").iterdir()))


def _is_our_agent(entry: Path) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    ours = os.environ["HOME"].encode()
    return b"serve" in words and any(word.startswith(ours) for word in words)


def _start_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat[stat.rindex(")") + 2 :].split()[19])


# -- the agent's folder -------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")
FOLDER = ".local/state/orch/node"


async def put_agent(home: Path) -> None:
    fake = node()
    await (await Agent.open(fake)).close()
    await fake.close()


async def refused(home: Path) -> NodeError:
    """Return why no agent is started; the file in its place leaves a mark if it is run."""
    for package in (home / FOLDER).glob("*.pyz"):
        # The interpreter runs the file, so its mode does not matter.
        package.write_text(f"open({str(home / 'mark')!r}, 'w')\nprint('{{\"hello\": {{}}}}')\n")
    fake = node()
    with pytest.raises(NodeError) as caught:
        await Agent.open(fake)
    await fake.close()
    assert not (home / "mark").exists()
    assert not [script for script in fake.scripts if "cat >" in script]
    return caught.value


@pytest.mark.parametrize("mask", [0o000, 0o002])
async def test_agent_folder_under_any_umask_is_private_to_its_owner(home: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        await put_agent(home)
    finally:
        os.umask(before)
    folders = [home / FOLDER, *list((home / FOLDER).parents)[:3]]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in (home / FOLDER).iterdir()} == {0o600}


async def test_agent_folder_that_others_can_write_to_is_refused(home: Path) -> None:
    await put_agent(home)
    (home / FOLDER).chmod(0o777)
    error = await refused(home)
    assert (
        f"node0: orch's agent is not started: {home / FOLDER} can be written by everybody"
        in str(error)
    )
    assert error.remedy == f"on node0: chmod go-w {home / FOLDER}"


@as_root
@pytest.mark.parametrize("whose", [FOLDER, ".local/state/orch", ".local/state"])
async def test_agent_folder_of_another_owner_is_refused(home: Path, whose: str) -> None:
    await put_agent(home)
    os.chown(home / whose, 1234, 1234)
    assert f"{home / whose} belongs to uid 1234" in str(await refused(home))


@as_root
@pytest.mark.parametrize("is_twin", [False, True])
async def test_agent_of_another_owner_is_not_run(home: Path, is_twin: bool) -> None:
    await put_agent(home)
    (package,) = (p for p in (home / FOLDER).iterdir() if (p.name.count(".") == 2) == is_twin)
    os.chown(package, 1234, 1234)
    assert f"{package} belongs to uid 1234" in str(await refused(home))


async def test_agent_that_is_a_symbolic_link_is_replaced_and_not_run(home: Path) -> None:
    await put_agent(home)
    (package,) = (p for p in (home / FOLDER).iterdir() if p.name.count(".") == 1)
    (home / "evil").write_text(f"open({str(home / 'mark')!r}, 'w')\n")
    package.unlink()
    package.symlink_to(home / "evil")
    await put_agent(home)
    assert not (home / "mark").exists()
    assert not package.is_symlink()


async def test_state_folder_that_an_earlier_version_left_open_is_closed(home: Path) -> None:
    await put_agent(home)
    (home / ".local/state/orch").chmod(0o775)
    await put_agent(home)
    assert (home / ".local/state/orch").stat().st_mode & 0o777 == 0o755


async def test_concurrent_large_requests_arrive_whole_although_one_is_cancelled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH, which sends them in pieces; the node reads more slowly than orch writes."""
    monkeypatch.setattr("orchestrator.remote.embedded.cluster.WINDOW", 1 << 16)
    tokens = ["x" * 100_000] * 80
    async with LocalCluster(1, home / "local") as cluster:
        (reached,) = await connect_all(cluster.hosts, cluster.options)
        assert not isinstance(reached, Unreachable)
        agent = await Agent.open(reached)
        answers = await asyncio.gather(
            agent.ask("shared", workdir="/", tokens=tokens),
            agent.ask("shared", workdir="/", tokens=tokens, timeout=0.001),
            agent.ask("shared", workdir="/", tokens=tokens),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [AgentRefusal, NodeError, AgentRefusal]
        assert "not a token" in str(answers[0])
        assert (await agent.ask("facts"))["home"] == str(home)
        await agent.close()
        await reached.close()


async def test_node_that_pauses_reading_for_a_second_gets_each_request_whole(home: Path) -> None:
    script = home / "slow"
    script.write_text(
        "import json, sys, time\n"
        "print(json.dumps({'hello': {}}), flush=True)\n"
        "time.sleep(1)\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    print(json.dumps({'id': request['id'], 'ok': request['text']}), flush=True)\n"
    )
    python = home / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    python.chmod(0o755)
    async with LocalCluster(1, home / "local") as cluster:
        (host,) = cluster.hosts
        (reached,) = await connect_all(
            [host.model_copy(update={"python": str(python)})], cluster.options
        )
        assert not isinstance(reached, Unreachable)
        agent = await Agent.open(reached)
        texts = [letter * 3_000_000 for letter in "abcd"]
        answers = await asyncio.gather(*(agent.ask("echo", text=text) for text in texts))
        assert answers == texts
        await agent.close()
        await reached.close()
