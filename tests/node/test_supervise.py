"""The supervisor: processes are started, recorded and stopped, and none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.node import processes, supervise, write_times

from .conftest import AgentProcess, last_status, rank_records, text_of

SLEEP = ["sleep", "1000"]
LENGTH = f"1000.{os.getpid()}"  # a unique argument for the sleepers of this test


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_supervisor_records_how_each_rank_ended(agent: AgentProcess) -> None:
    assert agent.start(sh("exit 7"), sh("kill -SEGV $$"), sh("true"))["ok"] == {"problem": None}
    messages = agent.follow()
    ends = {rank: (r["code"], r["signal"]) for rank, r in rank_records(messages).items()}
    assert ends == {0: (7, None), 1: (None, signal.SIGSEGV), 2: (0, None)}
    status = last_status(messages)
    assert (status["state"], status["left"]) == ("ended", [])


def test_output_of_a_rank_is_private_and_no_terminal(agent: AgentProcess) -> None:
    agent.start(sh("readlink /proc/self/fd/1 /proc/self/fd/2; readlink /proc/self/fd/0"))
    out = text_of(agent.follow(), "attempt-0/rank-0.out").decode().split()
    assert [entry.partition(":")[0] for entry in out] == ["pipe", "pipe", "/dev/null"]
    folder = agent.directory / "attempt-0"
    assert (folder / "rank-0.out").stat().st_mode & 0o777 == 0o600
    assert agent.directory.stat().st_mode & 0o777 == 0o700


def test_last_bytes_of_a_run_are_marked_at_its_end(agent: AgentProcess) -> None:
    agent.start(sh("echo first; sleep 0.3; echo last"))
    ended = last_status(agent.follow())["ended"]
    folder = agent.directory / "attempt-0"
    mark = write_times.unpack((folder / "marks").read_bytes())[-1]
    assert (mark.stream, mark.size) == ("rank-0.out", len("first\nlast\n"))
    assert ended - 0.3 < mark.time <= ended


def test_run_outlives_its_agent(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("read x < gate; echo done"))
    agent.close()
    second = AgentProcess(agent.home)
    second.run = agent.run
    (agent.home / "gate").write_text("go\n")
    assert text_of(second.follow(), "attempt-0/rank-0.out") == b"done\n"
    second.close()


def test_start_with_an_impossible_process_starts_nothing(agent: AgentProcess) -> None:
    answer = agent.start(SLEEP, ["/no/such/python", "x"])
    assert "/no/such/python" in answer["ok"]["problem"]
    assert agent.left() == set()


def test_start_in_missing_working_folder_names_it(agent: AgentProcess) -> None:
    answer = agent.start(SLEEP, cwd="/no/such/folder")
    assert "/no/such/folder" in answer["ok"]["problem"]


def test_stop_gives_ranks_sigterm_and_time(agent: AgentProcess) -> None:
    agent.start(
        sh(
            "trap 'echo saving; sleep 0.3; echo saved; exit 3' TERM; echo up; while :; do sleep 0.05; done"
        )
    )
    agent.follow(until=lambda m: m[1] == b"up\n")
    assert agent.stop()["ok"]["alive"] is True
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-0.out") == b"up\nsaving\nsaved\n"
    assert rank_records(messages)[0]["code"] == 3
    status = last_status(messages)
    assert status["stopped"] == "test"
    assert status["began"] < status["stopped_at"] < status["ended"]


def test_stop_kills_what_ignores_sigterm(agent: AgentProcess) -> None:
    agent.start(sh("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    agent.follow(until=lambda m: m[1] == b"up\n")
    began = time.monotonic()
    agent.stop(grace=0.3)
    messages = agent.follow()
    assert rank_records(messages)[0]["signal"] == signal.SIGKILL
    assert time.monotonic() - began < 5
    assert agent.left() == set()


@pytest.mark.parametrize("torn", [b"", b'{"grace": 0', b'{"grace": "soon", "reason": 1}'])
def test_torn_stop_request_still_stops_the_run(agent: AgentProcess, torn: bytes) -> None:
    agent.start(sh("echo up; exec sleep 1000"))
    messages = agent.follow(until=lambda m: m[1] == b"up\n")
    (agent.directory / "stop.json").write_bytes(torn)
    os.kill(last_status(messages)["pid"], signal.SIGTERM)
    messages = agent.follow()
    status = last_status(messages)
    assert status["stopped"] == "supervisor-signalled"
    assert status["stopped_detail"] == {"signal": 15, "pid": os.getpid()}
    assert rank_records(messages)[0]["signal"] == signal.SIGTERM


@pytest.mark.lab
def test_stop_on_a_full_disk_records_the_end(agent: AgentProcess) -> None:
    runs = agent.home / ".local/state/orch/runs"
    runs.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", runs], check=True)
    try:
        fill = "head -c 32000000 /dev/zero > $ORCH_DIR/fill; echo x > $ORCH_DIR/last"
        agent.start(sh(f"{fill}; echo full > {agent.home}/is-full; exec sleep 1000"), lease=60)
        wait_until((agent.home / "is-full").exists)
        assert agent.ask("heard", run=agent.run, node="node0")["ok"] == {"renewed": True}
        assert agent.stop()["ok"]["alive"] is True
        messages = agent.follow()
        assert last_status(messages)["stopped"] == "test"
        assert rank_records(messages)[0]["signal"] == signal.SIGTERM
        answer = agent.ask("forget", limit=20, runs=[[agent.run, "node0"]])["ok"]
        assert answer["removed"] == [[agent.run, "node0"]]
    finally:
        processes.kill_all(str(agent.directory))
        subprocess.run(["umount", "-l", runs], check=True)


def test_reserved_space_is_restored_when_a_full_disk_is_freed(
    agent: AgentProcess,
) -> None:
    agent.start(SLEEP)
    reserve = agent.directory / "reserve"
    reserve.unlink()
    wait_until(reserve.exists)
    assert reserve.stat().st_size == 1 << 16


def test_second_stop_with_less_grace_shortens_it(agent: AgentProcess) -> None:
    agent.start(sh("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    agent.follow(until=lambda m: m[1] == b"up\n")
    agent.stop(grace=60)
    agent.stop(grace=0)
    assert last_status(agent.follow())["left"] == []


def test_grandchildren_in_other_sessions_are_killed(agent: AgentProcess) -> None:
    agent.start(sh(f"setsid sleep 1000 & setsid env -i sleep {LENGTH} & echo up; exit 0"))
    messages = agent.follow()
    assert last_status(messages)["left"] == []
    assert agent.left() == set()
    assert not [p for p in processes.all_live() if _argv(p.pid) == ["sleep", LENGTH]]


def test_stop_of_one_run_keeps_another_running(agent: AgentProcess) -> None:
    agent.start(sh("echo up; exec sleep 1000"))
    agent.follow(until=lambda m: m[1] == b"up\n")
    first = agent.run
    agent.run = first + "-sibling"
    agent.start(SLEEP)
    agent.stop(grace=0)
    agent.follow()
    assert agent.left() == set()
    agent.run = first
    assert len(agent.left()) == 1
    agent.stop(grace=0)
    agent.follow()


def test_run_of_killed_supervisor_is_lost_and_can_be_swept(agent: AgentProcess) -> None:
    agent.start(SLEEP)
    status = last_status(agent.follow(until=lambda m: "status" in m[0]))
    os.kill(status["pid"], signal.SIGKILL)
    assert last_status(agent.follow())["state"] == "lost"
    assert agent.stop()["ok"]["alive"] is False
    assert agent.ask("sweep", run=agent.run, node="node0")["ok"]["left"] == []
    assert agent.left() == set()


def test_launcher_gets_the_shim_as_interpreter(agent: AgentProcess) -> None:
    script = agent.home / "rank.py"
    script.write_text("import os, sys; print(os.environ['RANK'], sys.argv[1:]); sys.exit(5)\n")
    agent.start(launcher(3, "-u", str(script), "a b"), launcher=True)
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-3.out") == b"3 ['a b']\n"
    record = rank_records(messages)[3]
    assert (record["code"], record["local_rank"], record["world_size"]) == (5, 1, 6)
    assert text_of(messages, "attempt-0/launcher.out") == b"5\n"
    assert last_status(messages)["launcher"]["code"] == 0


def test_launcher_sees_the_signal_that_ended_its_rank(agent: AgentProcess) -> None:
    agent.start(launcher(0, "-c", "import os; os.kill(os.getpid(), 9)"), launcher=True)
    messages = agent.follow()
    assert text_of(messages, "attempt-0/launcher.out") == b"-9\n"
    assert rank_records(messages)[0]["signal"] == signal.SIGKILL


def test_rank_killed_by_an_ignored_signal_is_recorded_with_it(
    agent: AgentProcess,
) -> None:
    dying = "import os, signal; signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)"
    agent.start(launcher(0, "-c", dying), launcher=True)
    messages = agent.follow()
    assert rank_records(messages)[0]["signal"] == signal.SIGPIPE
    assert text_of(messages, "attempt-0/launcher.out") == b"-13\n"
    assert text_of(messages, "attempt-0/rank-0.err") == b""


def test_signal_to_the_group_of_a_rank_reaches_it_once(
    agent: AgentProcess,
) -> None:
    counting = (
        "import signal, time\n"
        "got = []\n"
        "signal.signal(15, lambda *_: got.append(15))\n"
        "print('up', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print(got, flush=True)\n"
    )
    agent.start(launcher(0, "-c", counting), launcher=True)
    agent.follow(until=lambda m: m[1] == b"up\n")
    (shim,) = (
        process.parent
        for process in processes.all_live()
        if _argv(process.pid)[1:] == ["-c", counting]
    )
    os.killpg(shim, signal.SIGTERM)
    assert text_of(agent.follow(), "attempt-0/rank-0.out") == b"up\n[15]\n"


def launcher(rank: int, *arguments: str) -> list[str]:
    """A launcher like torchrun: it starts the interpreter that it is given as one rank."""
    script = """
import os, subprocess, sys
rank = dict(os.environ, RANK=sys.argv[1], LOCAL_RANK="1", WORLD_SIZE="6")
argv = [os.environ["PYTHON_EXEC"], *sys.argv[2:]]
print(subprocess.call(argv, env=rank, start_new_session=True))
"""
    return [sys.executable, "-c", script, str(rank), *arguments]


def test_supervisor_frozen_for_seconds_continues_its_run(agent: AgentProcess) -> None:
    os.mkfifo(agent.home / "gate")
    agent.start(sh("echo up; read x < gate; exit 4"))
    messages = agent.follow(until=lambda m: m[1] == b"up\n")
    supervisor = last_status(messages)["pid"]
    for _ in range(3):
        os.kill(supervisor, signal.SIGSTOP)
        # Longer than it ever waits, so that its wait is interrupted past its timeout.
        time.sleep(2.5)
        os.kill(supervisor, signal.SIGCONT)
        time.sleep(0.1)
    (agent.home / "gate").write_text("go\n")
    messages = agent.follow()
    status = last_status(messages)
    assert (status["state"], status["stopped"]) == ("ended", None)
    assert rank_records(messages)[0]["code"] == 4


def test_stop_of_a_frozen_supervisor_and_rank_ends_them(agent: AgentProcess) -> None:
    agent.start(sh("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"))
    messages = agent.follow(until=lambda m: m[1] == b"up\n")
    os.kill(rank_records(messages)[0]["pid"], signal.SIGSTOP)
    os.kill(last_status(messages)["pid"], signal.SIGSTOP)
    agent.stop(grace=10.0)
    messages = agent.follow()
    assert last_status(messages)["stopped"] == "test"
    assert rank_records(messages)[0]["code"] == 3


# A rank that saves on SIGTERM, and then exits with 0.
_SAVING = (
    "import signal, sys, time\n"
    "signal.signal(15, lambda *_: (time.sleep(1.5), print('saved'), sys.exit(0)))\n"
    "print('up', flush=True)\n"
    "while True: time.sleep(0.01)\n"
)


def test_ranks_of_a_killed_launcher_get_sigterm_and_the_grace(agent: AgentProcess) -> None:
    agent.start(launcher(0, "-c", _SAVING), launcher=True, grace=20.0)
    agent.follow(until=lambda m: m[1] == b"up\n")
    wait_until((agent.directory / "attempt-0/rank-0.json").exists)  # the shim writes it
    os.kill(launcher_pid(agent), signal.SIGKILL)
    messages = agent.follow()
    status, rank = last_status(messages), rank_records(messages)[0]
    assert text_of(messages, "attempt-0/rank-0.out") == b"up\nsaved\n"
    assert (rank["code"], status["launcher"]["signal"]) == (0, signal.SIGKILL)
    assert rank["ended"] > status["launcher"]["ended"]
    assert (status["state"], status["stopped"], status["left"]) == ("ended", None, [])


def test_rank_whose_shim_is_killed_ends_too_and_is_recorded(agent: AgentProcess) -> None:
    script = "print('up', flush=True); import time; time.sleep(1000)"
    agent.start(launcher(0, "-c", script), launcher=True)
    agent.follow(until=lambda m: m[1] == b"up\n")
    wait_until((agent.directory / "attempt-0/rank-0.json").exists)
    (shim,) = (p for p in agent.left() if _argv(p)[-3:] == ["shim", "-c", script])
    os.kill(shim, signal.SIGKILL)
    messages = agent.follow()
    rank = rank_records(messages)[0]
    assert (rank["code"], rank["signal"]) == (None, signal.SIGKILL)
    assert text_of(messages, "attempt-0/launcher.out") == b"-9\n"


def launcher_pid(agent: AgentProcess) -> int:
    status = json.loads((agent.directory / "status.json").read_text())
    return int(status["launcher"]["pid"])


def test_end_of_one_node_keeps_another_on_the_same_machine_running(agent: AgentProcess) -> None:
    agent.start(sh("echo up; exec sleep 1000"))
    agent.start(sh("true"), node="node1")
    other = agent.home / ".local/state/orch/runs" / agent.run / "node1"
    wait_until(lambda: b'"state": "ended"' in (other / "status.json").read_bytes())
    assert len(agent.left()) == 1
    agent.stop(grace=0)
    agent.follow()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def test_second_attempt_starts_beside_the_first(agent: AgentProcess) -> None:
    agent.start(sh("trap '' TERM; echo first; sleep 1000"))
    agent.follow(until=lambda message: message[1] == b"first\n")
    agent.stop(grace=0.0)
    assert last_status(agent.follow())["attempt"] == 0
    # The request of the attempt before must not stop this one.
    assert (agent.directory / "stop.json").exists()
    agent.start(sh("echo second; sleep 0.2; exit 3"), attempt=1)
    messages = agent.follow()
    assert not (agent.directory / "stop.json").exists()
    status = last_status(messages)
    assert (status["state"], status["attempt"], status["stopped"]) == ("ended", 1, None)
    assert text_of(messages, "attempt-0/rank-0.out") == b"first\n"
    assert text_of(messages, "attempt-1/rank-0.out") == b"second\n"
    ends = {m[0]["rank"]["attempt"]: m[0]["rank"]["code"] for m in messages if "rank" in m[0]}
    assert ends == {0: None, 1: 3}


@pytest.mark.parametrize("launcher", [False, True])
def test_script_gets_the_attempt_number(agent: AgentProcess, launcher: bool) -> None:
    python = [sys.executable, "-c", "import os; print(os.environ['ORCH_ATTEMPT'])"]
    argv = python
    if launcher:  # which has restarted its ranks twice
        words = "RANK=0 LOCAL_RANK=0 TORCHELASTIC_RESTART_COUNT=2"
        argv = sh(f'{words} "$PYTHON_EXEC" -c "{python[2]}"')
        argv = ["/usr/bin/env", f"ORCH_PYTHON={sys.executable}", *argv]
    agent.start(argv, launcher=launcher, attempt=4)
    number = 6 if launcher else 4
    assert text_of(agent.follow(), f"attempt-{number}/rank-0.out") == f"{number}\n".encode()


def test_launcher_of_a_program_starts_it_through_the_shim(agent: AgentProcess) -> None:
    launcher = sh('exec env RANK=3 LOCAL_RANK=1 "$@"')
    program = sh('echo "$1" "${ORCH_PYTHON-none}" "${PYTHON_EXEC-none}"; exit 5')
    agent.start([*launcher, "sh", *program, "sh", "a b"], launcher=True, program_at=4)
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-3.out") == b"a b none none\n"
    assert rank_records(messages)[3]["code"] == 5
    assert last_status(messages)["launcher"]["code"] == 5


@pytest.mark.parametrize("launcher", [False, True])
def test_variable_that_no_shell_can_name_reaches_the_rank(
    agent: AgentProcess, launcher: bool
) -> None:
    show = """
import os
print([os.environ.get(name) for name in ("a.b", "c-d", "1é", "E")])
print([name for name in os.environ if "CARRIED" in name])
"""
    argv = [sys.executable, "-c", show]
    given = {"a.b": "1", "c-d": "x y\n", "1é": "ü", "E": "e"}
    if launcher:  # without a shell of its own
        start = "import os, sys; os.execv(os.environ['PYTHON_EXEC'], ['rank', *sys.argv[1:]])"
        words = [f"ORCH_PYTHON={sys.executable}", "RANK=0", "LOCAL_RANK=0"]
        argv = ["/usr/bin/env", *words, sys.executable, "-c", start, "-c", show]
    agent.start(argv, launcher=launcher, env=given)
    shown = text_of(agent.follow(), "attempt-0/rank-0.out").decode()
    assert shown == "['1', 'x y\\n', 'ü', 'e']\n[]\n"


def test_python_of_a_shell_script_has_the_grace_to_end_by_itself(agent: AgentProcess) -> None:
    script = """
import signal, time
def save(*_):
    time.sleep(2)  # longer than processes have after their rank has ended
    print("saved", flush=True)
    raise SystemExit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(1000)
"""
    (agent.home / "t.py").write_text(script)
    agent.start(sh(f"{sys.executable} t.py; echo last"))
    agent.follow(until=lambda m: b"up" in m[1])
    agent.stop(grace=30.0)
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-0.out") == b"up\nsaved\nlast\n"
    assert rank_records(messages)[0]["code"] == 0


def test_forged_status_does_not_end_the_run(agent: AgentProcess) -> None:
    forging = """
import json, os, time
path = os.path.join(os.environ["ORCH_DIR"], "status.json")
status = json.load(open(path))
status.update(state="ended", ended=time.time(), pid=1)
print("up", flush=True)
while not os.path.exists("gate"):
    with open(path + ".forged", "w") as file:
        json.dump(status, file)
    os.replace(path + ".forged", path)
    time.sleep(0.05)
raise SystemExit(4)
"""
    agent.start([sys.executable, "-c", forging])
    agent.follow(until=lambda m: m[1] == b"up\n")
    second = AgentProcess(agent.home)  # which has not seen the true status
    second.run = agent.run
    number = second.send("follow", run=agent.run, node="node0", offsets={})
    time.sleep(1.5)  # it checks once a second
    (agent.home / "gate").touch()
    while True:
        header, _ = second._read()
        if header["id"] == number and "status" in header:
            assert header["status"]["state"] != "ended" or header["status"]["pid"] != 1
            if header["status"]["state"] == "ended":
                break
    second.close()
    messages = agent.follow()
    status = last_status(messages)
    assert (status["state"], status["left"]) == ("ended", [])
    assert rank_records(messages)[0]["code"] == 4


def test_leftovers_after_success_are_named_and_may_finish(agent: AgentProcess) -> None:
    agent.start(sh("setsid sh -c 'sleep 2; echo uploaded' & exit 0"), linger=60)
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-0.out") == b"uploaded\n"
    behind = [m[0]["status"]["behind"] for m in messages if "status" in m[0]]
    named = [each for each in behind if each is not None]
    assert named and not named[-1]["ended"]
    assert {name for _, name in named[0]["processes"]} <= {"sh", "sleep"}
    assert agent.left() == set()


def test_leftovers_past_the_limit_are_ended_and_reported(
    agent: AgentProcess,
) -> None:
    agent.start(sh("setsid sleep 1000 & exit 0"), linger=1.5)
    behind = last_status(agent.follow())["behind"]
    assert (behind["limit"], behind["ended"]) == (1.5, True)
    assert [name for _, name in behind["processes"]] == ["sleep"]
    assert agent.left() == set()


@pytest.mark.parametrize("how", ["fails", "is stopped", "is stopped as it waits"])
def test_failed_or_stopped_run_does_not_wait_for_leftovers(agent: AgentProcess, how: str) -> None:
    ending = {
        "fails": "exit 3",
        "is stopped": "exec sleep 1000",
        "is stopped as it waits": "exit 0",
    }[how]
    began = time.monotonic()
    agent.start(sh(f"setsid sleep 1000 & echo up; {ending}"), linger=600)
    if how == "is stopped":
        agent.follow(until=lambda m: m[1] == b"up\n")
        agent.stop(grace=0)
    elif how == "is stopped as it waits":
        agent.follow(until=lambda m: bool(m[0].get("status", {}).get("behind")))
        agent.stop(grace=3)
    assert last_status(agent.follow())["state"] == "ended"
    assert agent.left() == set()
    assert time.monotonic() - began < 60


def test_launcher_on_noexec_file_system_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"noexec.*use --launcher direct"):
        supervise._check_can_run("/home/ann/shim")
