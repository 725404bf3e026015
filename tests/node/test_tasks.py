"""Work beside the agent's conversation is answered and bounded, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.node import check, processes
from orchestrator.node.probes import limits
from orchestrator.node.tasks import Task

from .conftest import AgentProcess

Probe = Callable[..., Any]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, dict[str, Any]]]:
    """Install these probes; return the request for them."""

    def give(**functions: Probe) -> dict[str, dict[str, Any]]:
        for name, function in functions.items():
            monkeypatch.setattr(limits, name, function, raising=False)
        return {f"limits.{name}": {} for name in functions}

    return give


def run(task: Task, seconds: float = 20) -> list[dict[str, Any]]:
    """Step a task to its end; return its answers."""
    answers = []
    deadline = time.monotonic() + seconds
    while not task.ended:
        assert time.monotonic() < deadline
        answer = task.step()
        if answer is not None:
            answers.append(answer)
        time.sleep(0.005)
    return answers


def hang() -> None:
    threading.Event().wait()


def test_check_answers_all_probes_together(probes: Any) -> None:
    request = probes(one=lambda: 1, two=lambda: {"size": 2})
    assert run(Task("check", 10, probes=request)) == [
        {"ok": {"limits.one": {"ok": 1}, "limits.two": {"ok": {"size": 2}}}}
    ]


def test_hanging_or_failing_probe_does_not_affect_others(probes: Any) -> None:
    request = probes(good=lambda: 1, hang=hang, bad=lambda: 1 // 0)
    (answer,) = run(Task("check", 1, probes=request))
    assert answer["ok"] == {
        "limits.good": {"ok": 1},
        "limits.hang": {"error": "no answer within 1 s"},
        "limits.bad": {"error": "ZeroDivisionError: integer division or modulo by zero"},
    }


def test_check_imports_all_probes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    importing: list[int] = []

    def record(name: str, package: str | None) -> ModuleType:
        importing.append(threading.get_ident())
        return import_module(name, package)

    monkeypatch.setattr(check, "import_module", record)
    answers = check.check(10, {"limits.shm": {}, "limits": {}})
    assert [set(answer) for answer in answers.values()] == [{"ok"}, {"ok"}]
    assert importing == [threading.get_ident()] * 2


def test_output_of_a_probe_is_no_answer(probes: Any, capfd: pytest.CaptureFixture[str]) -> None:
    request = probes(chatty=lambda: os.write(1, b"hello\n"))
    assert run(Task("check", 10, probes=request)) == [{"ok": {"limits.chatty": {"ok": 6}}}]
    assert capfd.readouterr().out == ""


def test_task_that_dies_is_an_error(probes: Any) -> None:
    request = probes(dying=lambda: os.kill(os.getpid(), 9))
    (answer,) = run(Task("check", 10, probes=request))
    assert answer["error"] == "check: it ended without an answer"


def test_task_past_its_limit_is_killed_with_its_children(probes: Any, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def stubborn() -> None:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pid_file.write_text(str(process.pid))
        os.kill(os.getpid(), 19)  # stopped, it cannot report its timeout itself

    request = probes(stubborn=stubborn)
    (answer,) = run(Task("check", 1.5, probes=request))
    assert answer["error"] == "check: no answer within 1.5 s"
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while processes.live(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_unknown_probe_is_an_error_of_that_probe(agent: AgentProcess) -> None:
    unknown = {
        "nonsense": "ModuleNotFoundError", "limits.nonsense": "AttributeError",
        "limits.os.system": "ValueError", "..tasks": "ValueError", "limits.__doc__": "TypeError",
    }  # fmt: skip
    answer = agent.ask("check", limit=10, probes={n: {} for n in ("limits.shm", *unknown)})["ok"]
    assert answer["limits.shm"]["ok"]["size"] > 0
    for name, error in unknown.items():
        assert answer[name]["error"].startswith(error), name
