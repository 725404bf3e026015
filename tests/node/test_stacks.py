"""Stacks of a run's processes, by the signal: only processes that handle it get it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import processes
from orchestrator.node.stack_hook import SIGNAL

from .conftest import AgentProcess

WAITING = """
import sys, time
def wait_for_it():
    print("up", flush=True)
    time.sleep(1000)
{before}
wait_for_it()
"""


def waiting(folder: Path, before: str = "") -> str:
    script = folder / "train.py"
    script.write_text(WAITING.format(before=before))
    return str(script)


def ask(agent: AgentProcess, **more: Any) -> list[dict[str, Any]]:
    answer = agent.ask("stacks", limit=20, run=agent.run, node="node0", **more)["ok"]
    found: list[dict[str, Any]] = answer["processes"]
    return found


def up(agent: AgentProcess, count: int = 1) -> None:
    """Wait until `count` ranks are up."""
    wait_until(
        lambda: count == sum(
            "up\n" in path.read_text() for path in agent.directory.glob("attempt-0/*.out")
        )
    )  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def main_frames(process: dict[str, Any]) -> list[str]:
    (main,) = [thread for thread in process["threads"] if thread["main"]]
    return [function for function, _, _ in main["frames"]]


def test_stacks_of_each_rank_leave_it_running(agent: AgentProcess, tmp_path: Path) -> None:
    script = waiting(tmp_path)
    agent.start([sys.executable, "-u", script], [sys.executable, "-u", script])
    up(agent, 2)
    found: list[dict[str, Any]] = []
    for _ in range(3):
        found = ask(agent)
        assert [(p["rank"], p["own"], p["by"], p["why"]) for p in found] == [
            (0, True, "signal", ""),
            (1, True, "signal", ""),
        ]
        for process in found:
            (thread,) = process["threads"]
            assert thread["frames"][0] == ["wait_for_it", script, 5]
            assert thread["frames"][1][0] == "<module>"
    assert agent.left() == {process["pid"] for process in found}
    assert (agent.directory / "attempt-0/rank-0.stacks").stat().st_mode & 0o777 == 0o600
    assert (agent.directory / "attempt-0/rank-0.err").read_text() == ""


@pytest.mark.parametrize(
    ("flags", "before", "why"),
    [
        (["-I"], "", "no hook"),
        (["-E"], "", "no hook"),
        (["-S"], "", "no hook"),
        ([], "import os; os.closerange(3, 100)", "no hook"),
        ([], "import os; os.unlink(os.environ['ORCH_STACKS'])", "no hook"),
        ([], f"import signal; signal.signal({SIGNAL}, signal.SIG_DFL)", "reset signal"),
        ([], f"import signal; signal.pthread_sigmask(0, range(1, 65)); {SIGNAL}", "not answer"),
    ],
)
def test_process_without_hook_or_handler_is_not_signalled(
    agent: AgentProcess, tmp_path: Path, flags: list[str], before: str, why: str
) -> None:
    agent.start([sys.executable, "-u", *flags, waiting(tmp_path, before)])
    up(agent)
    for _ in range(2):  # the first request must not have killed it
        (process,) = ask(agent)
        assert why in process["why"]
        assert process["threads"] == []
        assert processes.belongs(process["pid"], str(agent.directory))


def test_rank_that_is_not_python_has_no_stacks_and_lives(agent: AgentProcess) -> None:
    agent.start(["/bin/sh", "-c", "echo up; exec sleep 1000"])
    up(agent)
    (process,) = ask(agent)
    assert (process["name"], process["threads"]) == ("sleep", [])
    assert processes.belongs(process["pid"], str(agent.directory))


def test_stopped_rank_is_reported_as_stopped(agent: AgentProcess, tmp_path: Path) -> None:
    agent.start([sys.executable, "-u", waiting(tmp_path)])
    up(agent)
    (process,) = ask(agent)
    os.kill(process["pid"], signal.SIGSTOP)
    (process,) = ask(agent)
    assert "stopped" in process["why"]
    os.kill(process["pid"], signal.SIGCONT)
    wait_until(lambda: ask(agent)[0]["by"] == "signal")


FORKING = """
import multiprocessing, os, subprocess, sys, time
def work(queue):
    queue.get()
if __name__ == "__main__":
    for how in ("fork", "spawn"):
        context = multiprocessing.get_context(how)
        queue = context.Queue()
        context.Process(target=work, args=(queue,), daemon=True, name=how).start()
    subprocess.Popen(["sleep", "1000"])
    time.sleep(1)
    print("up", flush=True)
    time.sleep(1000)
"""


def test_children_of_a_rank_have_stacks(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FORKING)
    agent.start([sys.executable, "-u", str(tmp_path / "train.py")])
    up(agent)
    before = agent.left()
    wait_until(lambda: sum("work" in main_frames(p) for p in ask(agent) if p["threads"]) == 2)
    found = ask(agent)
    assert [p["own"] for p in found].count(True) == 1 and found[0]["own"]
    assert {p["rank"] for p in found} == {0}
    (sleep,) = [p for p in found if p["name"] == "sleep"]
    assert sleep["threads"] == []
    assert agent.left() == before
    (brief,) = [p for p in ask(agent, brief=True) if p["threads"]]
    assert (brief["own"], [t["main"] for t in brief["threads"]]) == (True, [True])


def test_ranks_that_a_script_starts_are_ranks(agent: AgentProcess, tmp_path: Path) -> None:
    source = (
        "import os, subprocess, sys, time\n"
        "if 'LOCAL_RANK' not in os.environ:\n"
        "    env = {**os.environ, 'LOCAL_RANK': '1'}\n"
        "    subprocess.Popen([sys.executable, __file__], env=env)\n"
        "else:\n"
        "    print('up', flush=True)\n"
        "time.sleep(1000)\n"
    )
    (tmp_path / "train.py").write_text(source)
    agent.start([sys.executable, "-u", str(tmp_path / "train.py")])
    up(agent)
    wait_until(lambda: all(p["by"] == "signal" for p in ask(agent)))
    assert [(p["rank"], p["own"]) for p in ask(agent)] == [(0, True), (1, True)]


def test_script_keeps_its_own_sitecustomize_and_path(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/sitecustomize.py").write_text("print('customized')\n")
    show = "import sys; print([p for p in sys.path if 'hook' in p], 'faulthandler' in sys.modules)"
    agent.start(
        [sys.executable, "-u", "-c", f"{show}; print('up'); import time; time.sleep(1000)"],
        env={"PYTHONPATH": str(tmp_path / "theirs")},
    )
    up(agent)
    out = (agent.directory / "attempt-0/rank-0.out").read_text()
    assert out == "customized\n[] True\nup\n"
    assert ask(agent)[0]["by"] == "signal"


def test_job_without_stacks_has_no_hook(agent: AgentProcess) -> None:
    show = "import os; print(os.environ.get('PYTHONPATH'), os.environ['ORCH_STACKS'])"
    agent.start([sys.executable, "-c", show], env={"ORCH_STACKS": "0"})
    agent.follow()
    assert (agent.directory / "attempt-0/rank-0.out").read_text() == "None 0\n"


@pytest.mark.parametrize("where", ["/no/such/folder/x", "/proc/x", "relative", ""])
def test_unwritable_stacks_file_does_not_stop_the_script(agent: AgentProcess, where: str) -> None:
    script = (
        f"ORCH_STACKS={where} exec {sys.executable} -c 'import sys; print(len(sys.argv)); "
        'assert "sitecustomize" not in sys.modules\''
    )
    agent.start(["/bin/sh", "-c", script])
    agent.follow()
    folder = agent.directory / "attempt-0"
    assert (folder / "rank-0.out").read_text() == "1\n"
    assert (folder / "rank-0.err").read_text() == ""


def test_concurrent_requests_for_stacks_are_all_answered(
    agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start([sys.executable, "-u", waiting(tmp_path)])
    up(agent)
    numbers = [
        agent.send("stacks", limit=20, run=agent.run, node="node0", brief=brief)
        for brief in (False, True, False)
    ]
    answers: dict[int, list[dict[str, Any]]] = {}
    while len(answers) < len(numbers):
        header, _ = agent._read()
        answers[header["id"]] = header["ok"]["processes"]
    for number in numbers:
        (process,) = answers[number]
        assert len(process["threads"]) == 1
        assert main_frames(process) == ["wait_for_it", "<module>"]


def test_large_file_of_stacks_is_emptied(agent: AgentProcess, tmp_path: Path) -> None:
    agent.start([sys.executable, "-u", waiting(tmp_path)])
    up(agent)
    file = agent.directory / "attempt-0/rank-0.stacks"
    with file.open("ab") as large:
        large.write(b"x" * (1 << 20) + b"\n")
    assert main_frames(ask(agent)[0]) == ["wait_for_it", "<module>"]
    assert file.stat().st_size < 10_000
