"""A run's folder on a node belongs to its owner alone, whatever the umask."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import files
from orchestrator.node.trust import Untrusted

from .conftest import AgentProcess

OTHER = 1234
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")


@pytest.mark.parametrize("mask", [0o000, 0o002])
def test_run_under_any_umask_makes_private_folders(tmp_path: Path, mask: int) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    before = os.umask(mask)
    try:
        agent = AgentProcess(home)
    finally:
        os.umask(before)
    try:
        assert agent.start(["sh", "-c", "umask"])["ok"] == {"problem": None}
        messages = agent.follow()
        assert agent.ask("reserve", address="127.0.0.1", preferred=0, exact=False)["ok"]
    finally:
        agent.close()
    assert f"{mask:04o}\n".encode() in b"".join(data for _, data in messages)  # the rank's own
    state = home / ".local/state/orch"
    folders = [home / ".local", home / ".local/state", state, *state.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folders if path.is_dir()}
    assert state / "ports" in modes and agent.directory / "attempt-0" in modes
    assert set(modes.values()) == {0o700}


def test_group_writable_folders_of_an_earlier_version_are_closed(agent: AgentProcess) -> None:
    agent.directory.mkdir(parents=True)
    for folder in (agent.directory.parent, agent.directory.parent.parent):
        folder.chmod(0o775)
    assert agent.start(["true"])["ok"] == {"problem": None}
    agent.follow()
    assert stat.S_IMODE(agent.directory.parent.stat().st_mode) == 0o755


@as_root
@pytest.mark.parametrize("verb", ["start", "stop", "sweep", "heard", "follow", "put", "discard"])
def test_run_folder_of_another_owner_is_neither_used_nor_obeyed(
    agent: AgentProcess, verb: str
) -> None:
    agent.directory.mkdir(parents=True)
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        start = int(Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[19])
        files.write_json(
            str(agent.directory / "status.json"),
            {
                "state": "running", "attempt": 0, "pid": victim.pid, "start": start, "left": [],
                "launcher": None,
            },
        )  # fmt: skip
        os.chown(agent.directory, OTHER, OTHER)
        arguments: dict[str, dict[str, Any]] = {
            "stop": {"grace": 0.0, "reason": "x", "detail": {}}, "follow": {"offsets": {}},
            "put": {"name": "x", "text": ""},
            "start": {
                "attempt": 0, "cwd": "/", "env": {}, "unset": [], "processes": [],
            },
        }  # fmt: skip
        answer = agent.ask(verb, run=agent.run, node="node0", **arguments.get(verb, {}))
        assert f"belongs to uid {OTHER}" in answer["error"]
        assert "chown -hR 0" in answer["error"]
        assert victim.poll() is None  # the process that its status.json names
        assert [path.name for path in agent.directory.iterdir()] == ["status.json"]
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        os.chown(agent.directory, 0, 0)


@as_root
def test_run_directory_of_another_owner_is_untrusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(files.run_directory("r", "n"))  # it does not exist yet
    assert not folder.exists()
    files.make_folder(str(folder))
    assert files.run_directory("r", "n") == str(folder)
    os.chown(folder.parent, OTHER, OTHER)
    with pytest.raises(Untrusted):
        files.run_directory("r", "n")


def test_remake_folder_restores_removed_parents(tmp_path: Path) -> None:
    path = tmp_path / "run/attempt-0"
    before = os.umask(0)
    try:
        for _ in range(2):
            files.remake_folder(str(path))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o700, 0o700]
