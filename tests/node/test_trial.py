"""A trial on a node has a folder with its script in it, and leaves nothing behind, whatever ends first."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from orchestrator.node import trial

from .conftest import AgentProcess

# It and its child ignore SIGTERM.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("up", flush=True)
time.sleep(60)
"""


def put(agent: AgentProcess, text: str = STUBBORN) -> Path:
    answer = agent.ask("put", run=agent.run, node="node0", name="script.py", text=text)
    return Path(answer["ok"]["folder"])


def start_stubborn(agent: AgentProcess) -> Path:
    """Start the stubborn script, and wait until both processes are up."""
    folder = put(agent)
    assert agent.start([sys.executable, "script.py"], cwd=str(folder))["ok"] == {"problem": None}
    agent.follow(until=lambda message: b"up" in message[1])
    assert len(agent.left()) == 2
    return folder


def test_put_makes_a_private_script(agent: AgentProcess) -> None:
    folder = put(agent, "print('é')\n")
    script = folder / "script.py"
    assert folder == agent.directory
    assert script.read_text() == "print('é')\n"
    assert stat.S_IMODE(script.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_discard_kills_the_trial_and_removes_its_folder(agent: AgentProcess) -> None:
    folder = start_stubborn(agent)
    assert agent.ask("discard", run=agent.run, node="node0")["ok"] == {"left": []}
    assert agent.left() == set()
    assert not folder.parent.exists()
    again = agent.ask("discard", run=agent.run, node="node0")
    assert again["ok"] == {"left": []}, "there is nothing more to do, and no error"


def test_trial_ends_with_the_conversation(agent: AgentProcess) -> None:
    folder = start_stubborn(agent)
    agent.close()
    assert agent.left() == set()
    assert not folder.parent.exists()


def test_discard_keeps_folder_of_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trial.put("run", "node0", "script.py", "")
    theirs = Path(trial.put("run", "node1", "script.py", "")["folder"])
    trial.discard("run", "node0")
    assert [path.name for path in theirs.parent.iterdir()] == ["node1"]


def test_put_outside_of_the_folder_is_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(trial.put("run", "node0", "../../../x.py", "text")["folder"])
    assert (folder / "x.py").read_text() == "text"
    with pytest.raises(ValueError, match="not a name"):
        trial.put("../run", "node0", "x.py", "text")
