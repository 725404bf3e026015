"""One node's share of a run: followed, copied, stopped, through lost connections and full disks."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.control import follower as module
from orchestrator.control import node_reports
from orchestrator.errors import LoginRefused, NodeError, NodeGone
from orchestrator.logs.index import RECORD_SIZE
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Elastic
from orchestrator.reasons import Stop
from orchestrator.remote.reports import (
    Chunk,
    FileProblem,
    LeftBehind,
    ProcessEnd,
    StatusReport,
    Zeros,
)
from orchestrator.runs.record import Record
from tests.control.followed import ERR, OUT, Followed, follow, followed_by, following
from tests.runs.fakes import FakeAgent, FakeConnection, lost, until
from tests.runs.helpers import ENDED, KILL, OK, RUNNING, plan_of, rank, record_in

LOST = StatusReport("lost", None, ())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MIN_RETRY_INTERVAL", "_MAX_RETRY_INTERVAL", "_DISK_RETRY_INTERVAL"):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = record_in(tmp_path, skews={"n0": 100.0})
    yield record
    record.close()


def kept(record: Record, path: str = OUT) -> bytes:
    return (record.logs / "n0" / path).read_bytes()


@pytest.fixture
def elastic(tmp_path: Path) -> Iterator[Record]:
    """The record of a run in which torchrun decides which ranks n0 has."""
    plan = replace(plan_of(2, 2), elastic=Elastic(1, 2))
    record = record_in(tmp_path, plan)
    yield record
    record.close()


# -- ranks and the supervisor -------------------------------------------------------------------


async def test_reports_of_an_earlier_attempt_are_ignored_and_its_logs_kept(record: Record) -> None:
    record.attempt = 1
    agent = FakeAgent([rank(0, KILL), replace(ENDED, attempt=0)], files={OUT: b"of attempt 0"})
    followed = await follow(record, agent)
    assert followed.follower.state.ranks == {}
    assert followed.follower.state.status == StatusReport("absent", None, ())
    assert followed.of(events.RankEnded) == []
    assert kept(record) == b"of attempt 0"  # its logs are copied


async def test_leftover_processes_are_reported_once_and_when_they_are_ended(
    record: Record,
) -> None:
    waiting = LeftBehind(((7, "sleep"), (9, "rclone")), 60.0, ended=False)
    reports = [
        replace(RUNNING, behind=waiting),
        replace(RUNNING, behind=waiting, launcher=OK),
        replace(ENDED, behind=replace(waiting, ended=True)),
    ]
    followed = await follow(record, FakeAgent([rank(0, OK), *reports]))
    waits = (
        "n0: the ranks have succeeded and left processes 7 (sleep), 9 (rclone) running: waiting up to 60 s "
        "for that (--linger); `orch stop r` ends it now"
    )
    assert [event.message for event in followed.of(events.Warned)] == [
        waits,
        "n0: ended processes 7 (sleep), 9 (rclone), which the ranks had left running (--linger 60)",
    ]


async def test_logs_of_an_earlier_attempt_may_have_ranks_of_other_nodes(record: Record) -> None:
    record.attempt = 1
    path = "attempt-0/rank-7.out"
    await follow(record, FakeAgent([replace(ENDED, attempt=1)], files={path: b"said then"}))
    assert kept(record, path) == b"said then"


async def test_run_is_followed_to_its_end(record: Record) -> None:
    agent = FakeAgent(
        [RUNNING, rank(0), rank(0, OK, 5.0), ENDED], files={OUT: b"out" * 1000, ERR: b"err"}
    )
    followed = await follow(record, agent)
    assert (kept(record), kept(record, ERR)) == (b"out" * 1000, b"err")
    assert (followed.shown(), followed.shown(ERR)) == (b"out" * 1000, b"err")
    assert [event for event in followed.emitted if not isinstance(event, events.Output)] == [
        events.Following("n0"),
        events.RankBegan(0, 0, "n0", 0, 100, 0.0),
        events.RankEnded(0, "n0", 0, None, 5.0),
        events.NodeEnded("n0", "ended", ()),
    ]
    state = followed.follower.state
    assert (state.status, state.ranks[0].end, state.clock_skew) == (ENDED, OK, 100.0)
    assert followed.follower.has_ended
    assert followed.follower.has_all
    assert followed.news == 4


async def test_elastic_node_may_report_any_rank_of_the_job(elastic: Record) -> None:
    path = "attempt-0/rank-3.out"
    later = [replace(rank(n), local_rank=n - 2, started=9.0) for n in (2, 3)]
    agent = FakeAgent([RUNNING, *later, 0.01, ENDED], files={path: b"x"})
    followed = await follow(elastic, agent)
    assert followed.follower.state.ranks == {2: later[0], 3: later[1]}
    assert kept(elastic, path) == b"x"


async def test_later_rank_replaces_the_one_with_the_same_local_rank(
    elastic: Record,
) -> None:
    """A rank that restarts without a failure of its own keeps its attempt."""
    first = [replace(rank(n, KILL, 8.0), local_rank=n - 2) for n in (2, 3)]
    then = [replace(rank(n), local_rank=n, pid=200 + n, started=9.0) for n in (0, 1)]
    agent = FakeAgent([RUNNING, *first, *then, lost()], [*then, *first, ENDED])
    followed = await follow(elastic, agent)
    assert followed.follower.state.ranks == {0: then[0], 1: then[1]}
    assert [event.pid for event in followed.of(events.RankBegan)] == [102, 103, 200, 201]
    assert len(followed.of(events.RankEnded)) == 2


async def test_rank_beyond_the_world_size_is_ignored(elastic: Record) -> None:
    await follow(elastic, FakeAgent([rank(4), ENDED], files={"attempt-0/rank-4.out": b"x"}))
    assert not (elastic.logs / "n0/attempt-0/rank-4.out").exists()


async def test_repeated_reports_after_reconnecting_emit_nothing(record: Record) -> None:
    emitted: list[Any] = [RUNNING, rank(0)]
    agent = FakeAgent([*emitted, lost()], [*emitted, rank(0, OK), ENDED])
    followed = await follow(record, agent)
    assert len(followed.of(events.RankBegan)) == 1
    assert len(followed.of(events.RankEnded)) == 1
    assert followed.news == 4


async def test_late_report_of_an_earlier_restart_is_ignored(record: Record) -> None:
    first, second = rank(0, ProcessEnd(7, None)), replace(rank(0), attempt=1)
    followed = await follow(record, FakeAgent([first, second, first, RUNNING, ENDED]))
    assert followed.follower.state.ranks == {0: second}
    assert [event.attempt for event in followed.of(events.RankBegan)] == [0, 1]
    assert len(followed.of(events.RankEnded)) == 1


async def test_node_with_a_lost_supervisor_is_swept_and_its_logs_fetched(record: Record) -> None:
    agent = FakeAgent([rank(0), LOST], [LOST], answers={"sweep": {"left": [7], "time": 1000.0}})
    followed = await follow(record, agent)
    assert [verb for verb, _ in agent.asked] == ["sweep"]
    assert len(agent.followed) == 2
    assert followed.of(events.NodeEnded) == [events.NodeEnded("n0", "lost", (7,))]
    assert followed.follower.state.swept_at == 1000.0


@pytest.mark.parametrize(
    "report",
    [
        Chunk("../../.bashrc", 0, 1.0, b"x"),
        Chunk(OUT, 5, 1.0, b"x"),  # the five bytes before it are missing
    ],
    ids=str,
)
async def test_impossible_path_breaks_the_connection_and_is_asked_again(
    record: Record, report: Any
) -> None:
    followed = await follow(record, FakeAgent([report], [ENDED]))
    assert len(followed.of(events.NodeLost)) == 1
    assert sum(file.stat().st_size for file in record.folder.rglob("*.out")) == 0
    assert followed.shown() == b""


async def test_rank_of_another_node_is_ignored_with_a_warning(
    record: Record,
) -> None:
    """A script can put any file next to its logs."""
    strange: list[Any] = [rank(1), Chunk("attempt-0/rank-1.out", 0, 1.0, b"x"), rank(1)]
    followed = await follow(record, FakeAgent([*strange, Chunk(OUT, 0, 1.0, b"ours"), ENDED]))
    (warning,) = followed.of(events.Warned)
    assert warning.message == "n0: ignoring rank 1, which is not assigned to it"
    assert followed.of(events.NodeLost) == []
    assert followed.shown() == b"ours"
    assert not (record.logs / "n0/attempt-0/rank-1.out").exists()


# -- connections that break ---------------------------------------------------------------------


async def test_retry_interval_is_reset_by_a_connection_with_news(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_RETRY_INTERVAL", 1000.0)
    stories: list[list[Any]] = [[Chunk(OUT, n, 1.0, b"x"), lost()] for n in range(15)]
    followed = await follow(record, FakeAgent(*stories, [ENDED]))  # minutes, if the pauses grew
    assert followed.shown() == b"x" * 15


async def test_retry_interval_grows_to_its_maximum(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_RETRY_INTERVAL", 0.08)
    tried: list[float] = []

    class Noting(FakeConnection):
        async def connect(self) -> None:
            tried.append(time.monotonic())
            await super().connect()

    agent = FakeAgent([ENDED])
    await follow(record, agent, Noting(agent, *[NodeError("n0", "no route")] * 12, is_up=False))
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    least = [0.01, 0.02, 0.04, *[0.08] * 9]
    assert all(pause > 0.9 * wanted for pause, wanted in zip(pauses, least, strict=True))
    assert sum(pauses) < 4, "doubled without end, they would take 40 s"


async def test_follow_continues_where_it_was_after_lost_connections(record: Record) -> None:
    data = bytes(range(256)) * 40
    agent = FakeAgent([lost()], [lost()], [ENDED], files={OUT: data}, piece=100)
    connection = FakeConnection(
        agent, NodeError("n0", "no route"), NodeError("n0", "no route"), is_up=False
    )
    followed = await follow(record, agent, connection)
    assert followed.shown() == kept(record) == data
    assert connection.connections == 3
    # One loss and one return each, however often it was tried: at first there was no connection.
    assert [type(event) for event in followed.emitted if not isinstance(event, events.Output)] == [
        events.NodeLost,
        *[events.Following, events.NodeBack, events.NodeLost] * 2,
        events.Following,
        events.NodeBack,
        events.NodeEnded,
    ]


async def test_node_is_away_from_the_first_failure_until_it_is_back(record: Record) -> None:
    agent = FakeAgent([lost()], [RUNNING, 60.0])
    connection = FakeConnection(agent, *[NodeError("n0", "no route")] * 3)
    async with following(Followed(record, connection)) as followed:
        await until(lambda: followed.follower.away_since is not None)
        since = followed.follower.away_since
        assert since is not None
        assert abs(since - time.monotonic()) < 5
        await until(lambda: followed.follower.state.status == RUNNING)
        assert followed.follower.away_since is None
    assert [event.cause for event in followed.of(events.NodeLost)] == [lost().text]


async def test_refused_login_while_away_is_reported_once_more(
    record: Record,
) -> None:
    agent = FakeAgent([lost()], [ENDED])
    changed = LoginRefused("n0", "its host key has changed")
    connection = FakeConnection(
        agent, NodeError("n0", "no route"), changed, NodeError("n0", "no route"), changed
    )
    followed = await follow(record, agent, connection)
    assert [event.cause for event in followed.of(events.NodeLost)] == [lost().text, changed.text]


async def test_node_that_was_taken_away_is_given_up_at_once(record: Record) -> None:
    agent = FakeAgent([lost()])
    connection = FakeConnection(agent, NodeError("n0", "no route"), NodeGone("n0", "taken away"))
    followed = await follow(record, agent, connection)
    assert followed.follower.gone == "taken away"
    assert [event.why for event in followed.of(events.NodeGone)] == ["taken away"]


async def test_node_that_is_back_gets_the_stop_request(record: Record) -> None:
    agent = FakeAgent([ENDED], answers={"stop": {"alive": True, "time": 1000.0}})
    connection = FakeConnection(agent, NodeError("n0", "no route"), is_up=False)
    followed = Followed(record, connection)
    followed.follower.away_since = time.monotonic()
    await followed.follower.stop(Stop(StopReason.RANK_FAILED), 3.0)
    assert agent.asked == []
    assert followed.of(events.Warned) == []  # it was already reported as lost
    await asyncio.wait_for(followed.follower.follow(), 5)
    ((verb, arguments),) = agent.asked
    assert (verb, arguments["reason"], arguments["grace"]) == ("stop", "rank-failed", 3.0)


# -- stopping -----------------------------------------------------------------------------------


async def test_stop_time_is_that_of_the_nodes_clock(
    record: Record,
) -> None:
    agent = FakeAgent(answers={"stop": {"alive": True, "time": 1000.0}})
    followed = Followed(record, FakeConnection(agent))
    await followed.follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    assert followed.follower.state.stopped_at == 1000.0
    agent._answers["stop"] = {"alive": True, "time": 2000.0}
    await followed.follower.stop(Stop(StopReason.INTERRUPT_TWICE), 0.0)
    assert followed.follower.state.stopped_at == 1000.0


async def test_stop_time_of_an_unreachable_node_is_estimated(
    record: Record,
) -> None:
    followed = Followed(record, FakeConnection(FakeAgent(), is_up=False))
    await followed.follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    stopped_at = followed.follower.state.stopped_at
    assert stopped_at is not None
    assert abs(stopped_at - (time.time() + 100.0)) < 5


async def test_node_that_has_ended_has_no_stop_time(record: Record) -> None:
    """Otherwise a launcher that failed would be a victim of the stop that it caused."""
    agent = FakeAgent([ENDED], answers={"stop": {"alive": False, "time": 1000.0}})
    followed = await follow(record, agent)
    await followed.follower.stop(Stop(StopReason.RANK_FAILED), 3.0)
    assert followed.follower.state.stopped_at is None


async def test_earlier_stop_that_the_node_reports_counts(record: Record) -> None:
    stopped = replace(
        RUNNING, state="stopping", stopped=Stop(StopReason.LEASE_EXPIRED), stopped_at=500.0
    )
    agent = FakeAgent(
        [stopped, replace(ENDED, stopped=Stop(StopReason.LEASE_EXPIRED), stopped_at=500.0)],
        answers={"stop": {"alive": True, "time": 1000.0}},
    )
    followed = await follow(record, agent)
    assert followed.follower.state.stopped_at == 500.0
    await followed.follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    assert followed.follower.state.stopped_at == 500.0


async def test_stop_of_a_node_with_a_dead_supervisor_sweeps_it(record: Record) -> None:
    agent = FakeAgent(
        answers={"stop": {"alive": False, "time": 1000.0}, "sweep": {"left": [], "time": 1001.0}}
    )
    follower = Followed(record, FakeConnection(agent)).follower
    await follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    assert [verb for verb, _ in agent.asked] == ["stop", "sweep"]
    assert (follower.state.stopped_at, follower.state.swept_at) == (None, 1001.0)


@pytest.mark.parametrize(
    "answer", [NodeError("n0", "it broke off"), None, [], {}, {"time": "soon"}]
)
async def test_unanswered_stop_request_is_reported(record: Record, answer: object) -> None:
    followed = Followed(record, FakeConnection(FakeAgent(answers={"stop": answer})))
    await followed.follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    (warning,) = followed.of(events.Warned)
    assert warning.message.startswith("n0: the request to stop was not answered")


# -- a full disk here ---------------------------------------------------------------------------


class Disk:
    """A disk with `room` bytes left for logs; a write of more than `most` bytes fails as a whole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 1 << 20) -> None:
        self.room = 0
        self._most = most
        self._pwrite: Callable[[int, Any, int], int] = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)

    def _write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        if self.room == 0 or (len(data) >= self._most > self.room):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._pwrite(descriptor, data[: self.room], offset)
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 99, 100, 101, 132, 133, 555])
async def test_full_disk_loses_and_repeats_no_output(
    record: Record, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The part of a chunk that fits is stored; the node is asked for the rest once there is space."""
    data = bytes(range(256)) * 4
    stories: list[Any] = [[RUNNING, 0.0, ENDED]] * 100
    agent = FakeAgent(*stories, files={OUT: data}, piece=100)
    disk = Disk(monkeypatch)
    disk.room = room
    async with following(Followed(record, FakeConnection(agent))) as followed:
        await until(lambda: not followed.follower.can_copy)
        assert followed.shown() == kept(record)
        assert not followed.follower.has_all
        await until(lambda: agent.followed.count(True) >= 2)
        disk.room = 1 << 20
        await until(lambda: followed.follower.has_all)
    assert followed.shown() == kept(record) == data
    assert followed.follower.can_copy
    full, again = (event.message for event in followed.of(events.Warned))
    assert full == (
        "the logs of n0 cannot be stored here: No space left on device; the node keeps them for now"
    )
    assert again == "the logs of n0 are stored here again, without a gap"


async def test_full_disk_for_one_file_is_not_reported_again_for_others(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted = [[Chunk(ERR, n, 1.0, b"e"), Chunk(OUT, 0, 1.0, b"x" * 100)] for n in range(4)]
    stories: list[Any] = [story for each in emitted[:3] for story in (each, [RUNNING])]
    disk = Disk(monkeypatch, most=100)
    disk.room = 3 * (1 + RECORD_SIZE)
    agent = FakeAgent(*stories, [*emitted[3], ENDED])
    async with following(Followed(record, FakeConnection(agent))) as followed:
        await until(lambda: disk.room == 0)
        disk.room = 1 << 20
        await until(lambda: followed.follower.has_all)
    assert (followed.shown(), followed.shown(ERR)) == (b"x" * 100, b"e" * 4)
    assert len(followed.of(events.Warned)) == 2


async def test_ranks_are_followed_on_a_full_disk(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = FakeAgent([], [RUNNING, rank(0, ProcessEnd(3, None)), 60.0], files={OUT: b"x"})
    Disk(monkeypatch)
    async with following(Followed(record, FakeConnection(agent))) as followed:
        await until(lambda: followed.of(events.RankEnded) != [])
    assert agent.followed[:2] == [False, True]
    assert not followed.follower.can_copy


@pytest.mark.parametrize(
    "answer", [{"left": 5}, {"left": ["\x1b[2J"]}, {}, None, {"left": [-1]}, {"left": []}]
)
async def test_invalid_answer_to_sweep_is_asked_again(record: Record, answer: Any) -> None:
    answers = iter([answer, {"left": [17], "time": 1000.0}])
    agent = FakeAgent([LOST], [LOST], [LOST], [], answers={"sweep": lambda _: next(answers)})
    followed = await follow(record, agent)
    assert next(lost.cause for lost in followed.of(events.NodeLost)).startswith("invalid answer")
    assert followed.of(events.NodeEnded) == [events.NodeEnded("n0", "lost", (17,))]


# -- requests --------------------------------------------------------------------------------------


async def test_stop_measures_the_clock_skew_again(record: Record) -> None:
    def an_hour_ahead(_: Any) -> dict[str, Any]:
        return {"alive": True, "time": time.time() + 3600.0}

    followed = followed_by(record, stop=an_hour_ahead)
    await followed.follower.stop(Stop(StopReason.RANK_FAILED), 3.0)
    assert abs(followed.follower.state.clock_skew - 3600.0) < 5


async def test_stop_keeps_the_clock_skew_if_it_is_unchanged(record: Record) -> None:
    def as_ever(_: Any) -> dict[str, Any]:
        return {"alive": True, "time": time.time() + record.settings.skews["n0"]}

    followed = followed_by(record, stop=as_ever)
    await followed.follower.stop(Stop(StopReason.RANK_FAILED), 3.0)
    assert followed.follower.state.clock_skew == record.settings.skews["n0"]


async def test_node_responds_or_not(record: Record) -> None:
    assert await followed_by(record, heard={"renewed": True}).follower.responds(1)
    assert not await followed_by(record, heard=lost()).follower.responds(1)
    away = Followed(record, FakeConnection(FakeAgent(), is_up=False))
    assert not await away.follower.responds(1)


# -- nodes that send too much or invalid data ------------------------------------------------------


def limited(root: Path, limit: int | None) -> Record:
    return record_in(root, log_limit=limit)


async def test_logs_at_the_limit_stay_on_the_node_and_ranks_are_followed(
    tmp_path: Path,
) -> None:
    record = limited(tmp_path, 5_000)
    agent = FakeAgent(
        [rank(0), rank(0, OK, 5.0), ENDED],
        [rank(0), rank(0, OK, 5.0), ENDED],
        files={OUT: b"x" * 20_000},
    )
    followed = await follow(record, agent)
    assert 5_000 <= len(kept(record)) < 7_000
    assert agent.followed == [False, True]
    assert followed.follower.state.ranks[0].end == OK
    assert (followed.follower.has_all, followed.follower.is_cut) == (False, True)
    (warning,) = followed.of(events.Warned)
    assert "have reached their limit of 5.0 kB" in warning.message
    assert "attempt-0/rank-0.out of n0" in warning.message
    assert "--log-limit" in warning.message
    assert followed.of(events.NodeLost) == []
    record.close()


async def test_output_after_the_limit_is_not_stored(tmp_path: Path) -> None:
    record = limited(tmp_path, 100)
    chunks: list[Any] = [Chunk(OUT, n * 100, 1.0, b"x" * 100) for n in range(50)]
    followed = await follow(record, FakeAgent(chunks, [*chunks, ENDED]))
    assert len(kept(record)) == 100
    assert len(followed.of(events.Warned)) == 1
    record.close()


async def test_hole_is_stored_as_a_hole_and_shown_as_one_line(record: Record) -> None:
    hole = Zeros(OUT, 3, 101.0, 1 << 40)
    emitted: list[Any] = [Chunk(OUT, 0, 101.0, b"one"), hole, hole, ENDED]
    followed = await follow(record, FakeAgent(emitted))
    assert (record.logs / "n0" / OUT).stat().st_size == 3 + (1 << 40)
    assert followed.of(events.Output)[1:] == [
        events.Output(
            followed.of(events.Output)[0].stream, 3,
            b"[1099.5 GB of zeros left out: a hole in the file]\n", 1.0,
            record.logs / "n0" / OUT, 1 << 40,
        )
    ]  # fmt: skip


async def test_missing_bytes_are_reported_once_and_other_files_followed(record: Record) -> None:
    gap = Chunk(OUT, 5, 1.0, b"x")
    agent = FakeAgent([gap], [gap, gap, Chunk(ERR, 0, 1.0, b"err"), ENDED])
    followed = await follow(record, agent)
    assert len(followed.of(events.NodeLost)) == 1
    (warning,) = followed.of(events.Warned)
    assert "bytes are missing from byte 0 on" in warning.message
    assert kept(record, ERR) == b"err"
    assert not followed.follower.has_all


async def test_odd_files_are_reported_once_and_up_to_a_limit(record: Record) -> None:
    files: list[Any] = [FileProblem(f"attempt-0/rank-0{n}.out", "name") for n in range(100)]
    followed = await follow(record, FakeAgent([*files, lost()], [*files, ENDED]))
    messages = [event.message for event in followed.of(events.Warned)]
    assert len(messages) == 20
    assert messages[0] == (
        "n0: attempt-0/rank-00.out in the run's folder: not a name of a log file"
    )


async def test_flood_of_reports_is_reported_once_and_then_ignored(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_reports, "_MAX_CHANGES", 10)
    monkeypatch.setattr(node_reports, "_MAX_CHANGES_PER_RANK", 10)
    flood: list[Any] = [replace(rank(0), pid=n, started=float(n)) for n in range(1000)]
    followed = await follow(record, FakeAgent([*flood, ENDED]))
    assert len(followed.of(events.RankBegan)) == 20
    (warning,) = followed.of(events.Warned)
    assert "more starts and ends than its ranks can have" in warning.message
    assert followed.follower.has_ended


@pytest.mark.parametrize(
    "answer", [1.5, [], {"alive": 1, "time": 1.0}, {"alive": True, "time": True}, {"alive": "no"}]
)
async def test_invalid_answer_to_stop_names_the_node(record: Record, answer: object) -> None:
    followed = Followed(record, FakeConnection(FakeAgent(answers={"stop": answer})))
    await followed.follower.stop(Stop(StopReason.INTERRUPT), 3.0)
    (warning,) = followed.of(events.Warned)
    assert "n0: invalid answer to 'stop'" in warning.message
