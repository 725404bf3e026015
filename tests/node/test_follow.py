"""Following a run's files: every byte once, from any offset, to the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from orchestrator.node import follow, linux, processes, write_times
from orchestrator.node.follow import Follower
from orchestrator.node.tail import CHUNK

from .conftest import AgentProcess, Message, last_status, rank_records, text_of

OUT = "attempt-0/rank-0.out"


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_follow_sends_every_byte_of_a_large_stream_once(agent: AgentProcess) -> None:
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


def test_follow_from_offset_sends_the_rest(agent: AgentProcess) -> None:
    agent.start(sh("printf 0123456789"))
    agent.follow()
    assert text_of(agent.follow({OUT: 4}), OUT) == b"456789"
    assert text_of(agent.follow({OUT: 10}), OUT) == b""


def test_output_arrives_while_the_rank_runs(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("echo one; read x < gate; echo two"))
    agent.follow(until=lambda m: m[1] == b"one\n")
    (agent.home / "gate").write_text("go\n")
    assert text_of(agent.follow(), OUT) == b"one\ntwo\n"


def test_follow_ends_after_the_last_byte(
    agent: AgentProcess,
) -> None:
    agent.start(sh("head -c 3000000 /dev/zero; echo err >&2; exit 1"))
    messages = agent.follow()
    assert last_status(messages)["state"] == "ended"
    assert "ok" in messages[-1][0]
    assert len(text_of(messages, OUT)) == 3_000_000
    assert text_of(messages, "attempt-0/rank-0.err") == b"err\n"


def test_follow_without_inotify_sends_the_same(agent: AgentProcess) -> None:
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


# -- a run that is not here, or only half ------------------------------------------------------

NO_PROCESS: dict[str, Any] = {"launcher": None, "left": [], "stopped": None}
ENDED = {
    "state": "ended", "pid": 1, "start": 1, "began": 1.0, "ended": 2.0,
    "launcher": None, "stopped": None, "left": [],
}  # fmt: skip


def in_process(
    directory: Path, offsets: dict[str, int] | None = None, **more: Any
) -> tuple[Follower, list[Message]]:
    """A follower of `directory`, and what it sends."""
    sent: list[Message] = []
    follower = Follower(
        str(directory), offsets or {}, lambda *message: sent.append(message), **more
    )
    return follower, sent


def to_the_end(follower: Follower, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not follower.finished:
        assert time.monotonic() < deadline
        follower.step()
        time.sleep(min(0.05, follower.wait()))
    follower.close()


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The folder of a run that ended long ago."""
    (tmp_path / "attempt-0").mkdir()
    (tmp_path / "status.json").write_text(json.dumps(ENDED))
    return tmp_path


def test_end_that_is_written_while_a_forged_one_is_checked_is_the_one_shown(ended: Path) -> None:
    true = {**ENDED, "pid": 7, "left": [8]}

    def of_run(directory: str, supervisor: int | None = None) -> set[int]:
        (ended / "status.json").write_text(json.dumps(true))  # as the supervisor does at last
        return set()

    follower, sent = in_process(ended)
    with mock.patch.object(processes, "of_run", of_run):
        to_the_end(follower)
    assert last_status(sent) == true


def test_follow_of_unknown_run_is_absent(agent: AgentProcess) -> None:
    messages = agent.follow()
    assert [header.get("status") for header, _ in messages] == [
        {"state": "absent", **NO_PROCESS},
        None,
    ]
    assert messages[-1][0]["ok"] is None
    assert not agent.directory.exists()


@pytest.mark.parametrize("torn", [None, b"", b'{"state": "runn', b"{}"])
def test_follow_of_crashed_start_becomes_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes | None
) -> None:
    monkeypatch.setattr(follow, "_STATUS_TIMEOUT", 0.3)
    (tmp_path / "attempt-0").mkdir()
    (tmp_path / "attempt-0" / "rank-0.out").write_bytes(b"early\n")
    if torn is not None:
        (tmp_path / "status.json").write_bytes(torn)
    follower, sent = in_process(tmp_path)
    follower.step()
    assert not follower.finished, "its supervisor may be about to come"
    to_the_end(follower)
    assert last_status(sent) == {"state": "lost", **NO_PROCESS}
    assert text_of(sent, OUT) == b"early\n"


def test_torn_status_is_restored_by_a_live_supervisor(agent: AgentProcess) -> None:
    agent.start(["sleep", "1000"])
    agent.follow(until=lambda m: "status" in m[0])
    (agent.directory / "status.json").write_bytes(b'{"state"')
    messages = agent.follow(until=lambda m: "status" in m[0])
    assert last_status(messages)["state"] == "running"
    assert agent.stop(grace=0)["ok"]["alive"] is True
    assert last_status(agent.follow())["state"] == "ended"


def test_live_run_with_removed_folder_is_not_absent(agent: AgentProcess) -> None:
    agent.start(["sleep", "1000"])
    deadline = time.monotonic() + 10
    while agent.directory.exists():  # its supervisor may still write there
        assert time.monotonic() < deadline
        shutil.rmtree(agent.directory, ignore_errors=True)
    messages = agent.follow(until=lambda m: "status" in m[0])
    assert last_status(messages)["state"] == "running", "its supervisor writes it again"
    agent.stop(grace=0)


def test_torn_record_of_a_rank_is_not_sent(ended: Path) -> None:
    (ended / "attempt-0" / "rank-0.json").write_bytes(b'{"rank": 0, "local')
    (ended / "attempt-0" / "rank-0.out").write_bytes(b"text")
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert rank_records(sent) == {}
    assert text_of(sent, OUT) == b"text"


def test_end_of_rank_with_torn_record_is_sent_once_restored(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("read x < gate; exit 4"))
    record = agent.directory / "attempt-0" / "rank-0.json"
    record.write_bytes(record.read_bytes()[:20])
    (agent.home / "gate").write_text("go\n")
    assert rank_records(agent.follow())[0]["code"] == 4


def test_supervisor_killed_without_status_is_lost(agent: AgentProcess) -> None:
    agent.start(["sleep", "1000"])
    messages = agent.follow(until=lambda m: "status" in m[0])
    follower, sent = in_process(agent.directory)
    follower.step()
    os.kill(last_status(messages)["pid"], signal.SIGKILL)
    (agent.directory / "status.json").unlink()
    to_the_end(follower)
    assert last_status(sent)["state"] == "lost"


def test_ended_status_under_another_live_supervisor_is_forged(ended: Path) -> None:
    code = (
        "import sys; from orchestrator.node import linux, processes\n"
        "log = open(sys.argv[1], 'w'); linux.set_name(processes.SUPERVISOR)\n"
        "print('up', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(ended / "supervisor.log")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None and supervisor.stdout.readline() == b"up\n"
        follower, sent = in_process(ended)
        follower.step()
        assert not follower.finished and sent == []
        (ended / "status.json").write_text(json.dumps({**ENDED, "pid": supervisor.pid}))
        to_the_end(follower)
        assert last_status(sent)["pid"] == supervisor.pid
        supervisor.communicate()


# -- log files that a script has touched -------------------------------------------------------


def test_log_file_that_shrinks_or_vanishes_does_not_end_the_follow(agent: AgentProcess) -> None:
    agent.start(
        sh("echo one; : > $ORCH_DIR/attempt-0/rank-0.out; echo two"),
        sh("echo gone; rm $ORCH_DIR/attempt-0/rank-1.*; exit 3"),
        sh("echo here"),
    )
    messages = agent.follow()
    assert last_status(messages)["state"] == "ended"
    assert text_of(messages, "attempt-0/rank-2.out") == b"here\n"
    messages = agent.follow({OUT: 1000})
    assert text_of(messages, OUT) == b"", "it has shrunk below what the controller has"
    assert "ok" in messages[-1][0]


def test_bytes_of_removed_open_file_are_sent(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("echo one; read x < gate; echo two; exit 3"))
    agent.follow(until=lambda m: m[1] == b"one\n")
    follower, sent = in_process(agent.directory)
    follower.step()
    (agent.directory / "attempt-0" / "rank-0.out").unlink()
    (agent.home / "gate").write_text("go\n")
    to_the_end(follower)
    assert text_of(sent, OUT) == b"one\ntwo\n"


# -- quiet -------------------------------------------------------------------------------------


def test_quiet_follow_reports_ranks_and_end_without_bytes(agent: AgentProcess) -> None:
    agent.start(sh("echo much; exit 3"), sh("sleep 0.3; echo more"))
    messages = agent.follow(quiet=True)
    assert {rank: record["code"] for rank, record in rank_records(messages).items()} == {0: 3, 1: 0}
    assert last_status(messages)["state"] == "ended"
    assert not any(payload for _, payload in messages)


# -- when bytes were written -------------------------------------------------------------------


def times(sent: list[Message]) -> list[tuple[int, float]]:
    """The (offset, time) of the chunks of the first rank's stdout."""
    return [(header["o"], header["t"]) for header, _ in sent if header.get("f") == OUT]


@pytest.fixture
def then() -> float:
    """A time that is recent enough to have a mark for each second."""
    return float(int(time.time())) - 100


def write_log(
    folder: Path,
    size: int,
    *found: tuple[float, int],
    mtime: float | None = None,
    fill: bytes = b"\0",
) -> None:
    """Write `size` bytes, and marks (time, size) for them."""
    log = folder / OUT
    log.write_bytes(fill * size)
    if mtime is not None:
        os.utime(log, (mtime, mtime))
    data = b"".join(
        write_times.pack(write_times.WriteTime(when, end, log.name)) for when, end in found
    )
    (folder / "attempt-0" / "marks").write_bytes(data)


def test_old_bytes_have_the_time_of_the_next_mark(ended: Path, then: float) -> None:
    write_log(ended, 100, (then + 1, 10), (then + 2, 50), (then + 3, 100))
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert times(sent) == [(0, then + 1), (10, then + 2), (50, then + 3)]
    follower, sent = in_process(ended, {OUT: 20})
    to_the_end(follower)
    assert times(sent) == [(20, then + 2), (50, then + 3)]
    assert len(text_of(sent, OUT)) == 80


def test_bytes_after_the_last_mark_have_the_time_of_the_last_write(
    ended: Path, then: float
) -> None:
    write_log(ended, 100, (then + 1, 10), mtime=then + 90)
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert times(sent) == [(0, then + 1), (10, then + 90)]


def test_chunk_of_one_mark_keeps_its_maximum_size(ended: Path, then: float) -> None:
    write_log(ended, 3 * CHUNK, (then + 1, 3 * CHUNK), fill=b"x")
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert times(sent) == [(n * CHUNK, then + 1) for n in range(3)]


def test_time_of_bytes_is_never_in_the_future(ended: Path) -> None:
    write_log(ended, 10, (9e9, 10))  # the clock has been set back since
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert times(sent)[0][1] <= time.time()


@pytest.mark.parametrize("data", [b"", b"torn", b"\xff" * 48])
def test_invalid_marks_delay_no_bytes(ended: Path, data: bytes, then: float) -> None:
    write_log(ended, 10, mtime=then + 90)
    (ended / "attempt-0" / "marks").write_bytes(data)
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert times(sent) == [(0, then + 90)]


def test_unreadable_marks_delay_no_bytes(ended: Path) -> None:
    (ended / OUT).write_bytes(b"text")
    (ended / "attempt-0" / "marks").mkdir()
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert text_of(sent, OUT) == b"text"


def test_month_of_marks_gives_a_bounded_number_of_chunks(ended: Path) -> None:
    now = time.time()
    every_minute = range(0, 30 * 24 * 3600, 60)
    write_log(
        ended, len(every_minute), *((now - age, n) for n, age in enumerate(every_minute[::-1], 1))
    )
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert 500 < len(times(sent)) < 1700


def test_live_bytes_have_the_time_of_reading(ended: Path, then: float) -> None:
    (ended / "status.json").unlink()
    write_log(ended, 0)
    follower, sent = in_process(ended)
    follower.step()
    write_log(ended, 100, (then + 1, 10), (then + 2, 50), (then + 3, 100))
    began = time.time()
    while not times(sent):
        follower.step()
    assert [(offset, began <= when <= time.time()) for offset, when in times(sent)] == [(0, True)]
    follower.close()


def test_delayed_follow_has_the_times_of_marks(
    ended: Path, monkeypatch: pytest.MonkeyPatch, then: float
) -> None:
    # As if the controller's link was cut, or is slow: the agent read nothing for a while.
    monkeypatch.setattr(follow, "_LATE_AFTER", 0.05)
    (ended / "status.json").unlink()
    write_log(ended, 0)
    follower, sent = in_process(ended)
    follower.step()
    write_log(ended, 100, (then + 1, 10), (then + 3, 100))
    time.sleep(0.1)
    while len(text_of(sent, OUT)) < 100:
        follower.step()
    assert times(sent) == [(0, then + 1), (10, then + 3)]
    follower.close()


def test_late_follow_has_times_to_the_second(agent: AgentProcess) -> None:
    agent.start(sh("for i in 1 2 3; do date +%s.%N; sleep 1.1; done"))
    agent.follow(quiet=True)
    chunks = [
        (header["t"], payload) for header, payload in agent.follow() if header.get("f") == OUT
    ]
    printed = [float(line) for _, payload in chunks for line in payload.split()]
    assert len(chunks) == len(printed) == 3
    for (sent, _), true in zip(chunks, printed, strict=True):
        assert 0 <= sent - true < 1.5


# -- what a script leaves among the files ------------------------------------------------------


def odd(sent: list[Message]) -> dict[str, str]:
    reports = [header for header, _ in sent if "odd" in header]
    assert len(reports) == len({header["odd"] for header in reports}), "each is reported once"
    return {header["odd"]: header["why"] for header in reports}


def test_odd_files_are_reported_once_and_ranks_are_followed(ended: Path) -> None:
    attempt = ended / "attempt-0"
    os.mkfifo(attempt / "rank-5.out")
    os.mkfifo(attempt / "rank-5.json")
    (attempt / "rank-7.out").mkdir()
    (attempt / "rank-8.err").symlink_to("/dev/zero")
    (attempt / "rank-01.out").write_bytes(b"foreign")
    (attempt / "rank-99999999.out").write_bytes(b"foreign")
    (attempt / "notes.txt").write_bytes(b"ignored")
    (ended / "attempt-00").mkdir()
    os.mkfifo(ended / "attempt-3")
    (attempt / "rank-0.out").write_bytes(b"ours\n")
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert text_of(sent, OUT) == b"ours\n"
    assert {header["f"] for header, _ in sent if "f" in header} == {OUT}
    assert odd(sent) == {
        "attempt-0/rank-5.out": "no-file",
        "attempt-0/rank-5.json": "no-file",
        "attempt-0/rank-7.out": "no-file",
        "attempt-0/rank-8.err": "no-file",
        "attempt-0/rank-01.out": "name",
        "attempt-0/rank-99999999.out": "name",
        "attempt-00": "name",
        "attempt-3": "no-folder",
    }


def test_many_odd_files_are_reported_up_to_a_limit(ended: Path) -> None:
    for number in range(100):
        (ended / "attempt-0" / f"rank-0{number}.out").touch()
    follower, sent = in_process(ended)
    to_the_end(follower)
    assert len(odd(sent)) == 20


def test_more_files_than_may_be_open_are_all_followed(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MAX_OPEN", 4)
    names = [f"attempt-0/rank-{number}.out" for number in range(30)]
    for name in names:
        (ended / name).write_text(name)
    before = len(list(Path("/proc/self/fd").iterdir()))
    follower, sent = in_process(ended)
    follower.step()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4 + 2
    to_the_end(follower)
    assert [text_of(sent, name).decode() for name in names] == names


def test_replaced_or_shortened_file_is_reported_once(ended: Path) -> None:
    (ended / "status.json").unlink()
    one, two = ended / "attempt-0/rank-0.out", ended / "attempt-0/rank-1.out"
    one.write_bytes(b"one\n")
    two.write_bytes(b"two\n")
    follower, sent = in_process(ended)
    while len([header for header, _ in sent if "f" in header]) < 2:
        follower.step()
    (ended / "new").write_bytes(b"another\n")
    (ended / "new").replace(one)
    two.write_bytes(b"")
    deadline = time.monotonic() + 20
    while len(odd(sent)) < 2:
        assert time.monotonic() < deadline
        follower.step()
        time.sleep(min(0.05, follower.wait()))
    assert odd(sent) == {"attempt-0/rank-0.out": "replaced", "attempt-0/rank-1.out": "shorter"}
    (ended / "status.json").write_text(json.dumps(ENDED))
    to_the_end(follower)
    odd(sent)
