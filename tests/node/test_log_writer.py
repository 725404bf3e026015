"""The output of a process gets into its log files, whatever happens to its streams or to the files."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.node import processes
from orchestrator.node.log_writer import Streams

from .conftest import AgentProcess, last_status, rank_records, text_of
from .test_supervise import launcher, sh

REOPENING = {
    "shell": "sh -c 'echo again > /dev/stderr'",
    "bash": "bash -c 'echo again > /dev/stderr'",
    "tee": "echo again | tee /dev/stderr > /dev/null",
    "open": f'{sys.executable} -c \'print("again", file=open("/dev/stderr", "w"))\'',
    "proc": f'{sys.executable} -c \'print("again", file=open("/proc/self/fd/2", "w"))\'',
    "append": "echo again >> /dev/stderr",
}


@pytest.mark.parametrize("how", REOPENING)
def test_stream_reopened_by_name_loses_nothing(agent: AgentProcess, how: str) -> None:
    agent.start(sh(f"echo before >&2; {REOPENING[how]}; echo after >&2"))
    assert text_of(agent.follow(), "attempt-0/rank-0.err") == b"before\nagain\nafter\n"
    log = agent.directory / "attempt-0/rank-0.err"
    assert log.read_bytes() == b"before\nagain\nafter\n"


def test_stream_held_open_by_name_overwrites_nothing(agent: AgentProcess) -> None:
    script = (
        "import sys; other = open('/dev/stdout', 'w')\n"
        "for i in range(3):\n"
        "    print('own', i, flush=True)\n"
        "    print('other', i, file=other, flush=True)\n"
    )
    agent.start([sys.executable, "-c", script])
    out = text_of(agent.follow(), "attempt-0/rank-0.out")
    assert out.split(b"\n")[:-1] == [
        b"%b %d" % (w, i) for i in range(3) for w in (b"own", b"other")
    ]


def test_stream_reopened_below_a_launcher_loses_nothing(
    agent: AgentProcess,
) -> None:
    script = (
        "import subprocess, sys\n"
        "print('before', file=sys.stderr, flush=True)\n"
        "subprocess.run(['bash', '-c', 'echo again > /dev/stderr'])\n"
        "raise ValueError('bad sample 17')\n"
    )
    agent.start(launcher(0, "-c", script), launcher=True)
    messages = agent.follow()
    text = text_of(messages, "attempt-0/rank-0.err")
    assert text.startswith(b"before\nagain\nTraceback")
    assert text.endswith(b"ValueError: bad sample 17\n")
    assert rank_records(messages)[0]["code"] == 1
    assert agent.left() == set()


@pytest.mark.parametrize("below_launcher", [False, True])
def test_log_writer_that_is_killed_is_replaced(agent: AgentProcess, below_launcher: bool) -> None:
    os.mkfifo(agent.home / "gate")
    script = f"print('up', flush=True); open('{agent.home}/gate').read(); print('done')"
    if below_launcher:
        agent.start(launcher(0, "-c", script), launcher=True)
    else:
        agent.start([sys.executable, "-c", script])
    agent.follow(until=lambda m: m[1] == b"up\n")
    before = writers(agent)
    assert before
    processes.send(before, signal.SIGKILL)
    wait_until(lambda: len(writers(agent) - before) == len(before))
    (agent.home / "gate").write_text("go\n")
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-0.out") == b"up\ndone\n"
    assert rank_records(messages)[0]["code"] == 0
    assert last_status(messages)["left"] == []
    assert writers(agent) == set()


def test_output_continues_without_supervisor_and_agent(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("echo up; read x < gate; echo done; exec sleep 1000"))
    messages = agent.follow(until=lambda m: m[1] == b"up\n")
    os.kill(last_status(messages)["pid"], signal.SIGKILL)
    (agent.home / "gate").write_text("go\n")
    log = agent.directory / "attempt-0/rank-0.out"
    wait_until(lambda: log.read_bytes() == b"up\ndone\n")
    assert agent.ask("sweep", run=agent.run, node="node0")["ok"]["left"] == []
    assert writers(agent) == set()


def test_shortened_file_keeps_its_offsets_and_notes_the_loss(
    agent: AgentProcess,
) -> None:
    cut = "import os; os.truncate(os.environ['ORCH_DIR'] + '/attempt-0/rank-0.out', 4)"
    os.mkfifo(agent.home / "gate")
    agent.start(sh(f'echo 0123456789; read x < gate; {sys.executable} -c "{cut}"; echo after'))
    first = agent.follow(until=lambda m: m[1] == b"0123456789\n")
    (agent.home / "gate").write_text("go\n")
    read = text_of(first, "attempt-0/rank-0.out")
    messages = agent.follow({"attempt-0/rank-0.out": len(read)})
    note = (
        b"\n[orch: this file was cut short by another program: "
        b"up to 7 bytes before this line are lost]\n"
    )
    assert text_of(messages, "attempt-0/rank-0.out") == note + b"after\n"
    whole = text_of(agent.follow(), "attempt-0/rank-0.out")
    assert whole == b"0123" + bytes(7) + note + b"after\n"


def test_full_disk_stops_no_rank_and_lost_bytes_are_counted(
    agent: AgentProcess,
) -> None:
    os.mkfifo(agent.home / "gate")
    flood = "import sys; sys.stdout.write('x' * 3_000_000 + 'last words\\n')"
    agent.start(
        sh(f'echo up; read x < gate; {sys.executable} -c "{flood}"; touch printed; read x < gate')
    )
    agent.follow(until=lambda m: m[1] == b"up\n")
    (writer,) = writers(agent)
    _, most = resource.prlimit(writer, resource.RLIMIT_FSIZE, (8, resource.RLIM_INFINITY))
    (agent.home / "gate").write_text("go\n")
    wait_until((agent.home / "printed").exists)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (most, most))
    (agent.home / "gate").write_text("go\n")
    text = text_of(agent.follow(), "attempt-0/rank-0.out")
    assert text.startswith(b"up\n")
    assert text.endswith(b"last words\n")
    tail = text.partition(b"\n[orch: ")[2]
    lost = int(tail.partition(b" bytes that belong here")[0].replace(b",", b""))
    assert b"could not be written and are lost: File too large]\n" in tail
    assert text.count(b"x") + lost == 3_000_000
    assert 0 < lost < 3_000_000


chunk = st.binary(max_size=300_000) | st.binary(max_size=20)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.booleans(), chunk), max_size=6))
def test_streams_write_every_byte_to_the_right_file(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[bool, bytes]]
) -> None:
    base = tmp_path_factory.mktemp("streams") / "rank-0"
    streams = Streams(str(base))
    wanted = {False: b"", True: b""}
    for is_error, data in written:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(streams.stderr if is_error else streams.stdout, rest) :]
        wanted[is_error] += data
    streams.close_writing()
    assert os.waitpid(streams.pid, 0)[1] == 0
    streams.close()
    assert base.with_suffix(".out").read_bytes() == wanted[False]
    assert base.with_suffix(".err").read_bytes() == wanted[True]


def test_streams_that_cannot_be_opened_leave_nothing_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="No such file"):
        Streams(str(tmp_path / "none" / "rank-0"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def writers(agent: AgentProcess) -> set[int]:
    everything = processes.of_run(str(agent.directory))
    return everything - processes.without_log_writers(everything)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
