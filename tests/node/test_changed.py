"""The files that a run has written in its working folder, as the node reports them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import AgentProcess


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def ask(agent: AgentProcess, verb: str, workdir: Path, since: float, **more: Any) -> dict[str, Any]:
    return agent.ask(
        verb, limit=20, run=agent.run, node="node0", workdir=str(workdir), since=since, **more
    )


def names(answer: dict[str, Any]) -> list[str]:
    return [entry[0] for entry in answer["ok"]["files"]]


def test_changed_lists_only_files_that_changed_since(agent: AgentProcess, workdir: Path) -> None:
    (workdir / "train.py").write_text("old")
    (workdir / "last.pt").write_text("old")
    while (workdir / "last.pt").stat().st_ctime > time.time() - 0.1:
        time.sleep(0.02)
    since = time.time()
    (workdir / "last.pt").write_text("new!")
    (workdir / "ckpt").mkdir()
    (workdir / "ckpt/1.pt").write_bytes(b"x" * 10_000)
    os.utime(workdir / "ckpt/1.pt", ns=(0, 5))  # its mtime is set by a program, its ctime is not
    (workdir / "ckpt/last").symlink_to("1.pt")
    answer = ask(agent, "changed", workdir, since)["ok"]
    assert answer["cut"] is False
    one, link, last = answer["files"]
    assert one[:6] == ["ckpt/1.pt", 10_000, 5, 0o644, "file", ""] and one[6] >= 10_000
    assert (link[0], link[1], link[4], link[5]) == ("ckpt/last", 0, "link", "1.pt")
    assert last[:2] == ["last.pt", 4]
    counted = ask(agent, "written", workdir, since)["ok"]
    assert (counted["files"], counted["folder"]) == (3, "~/work")


def test_changed_uses_the_start_time_in_the_runs_record(agent: AgentProcess, workdir: Path) -> None:
    (workdir / "train.py").write_text("old")
    while (workdir / "train.py").stat().st_ctime > time.time() - 0.1:
        time.sleep(0.02)
    agent.start(["sh", "-c", f"echo new > {workdir}/out.txt"])
    agent.follow()
    assert names(ask(agent, "changed", workdir, 0.0)) == ["out.txt"]
    shutil.rmtree(agent.directory)  # a script has removed it
    assert names(ask(agent, "changed", workdir, 0.0)) == ["out.txt", "train.py"]


def test_changed_leaves_out_files_of_orch_and_caches(agent: AgentProcess, workdir: Path) -> None:
    for name in (".orch-partial", "__pycache__", ".git"):
        (workdir / name).mkdir()
        (workdir / name / "x").write_text("x")
    (workdir / ".orch-sentinel-1").write_text("x")
    os.mkfifo(workdir / "pipe")
    (workdir / "out").write_text("x")
    assert names(ask(agent, "changed", workdir, 0.0)) == ["out"]


def test_changed_in_parts_has_every_file_once(
    agent: AgentProcess, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("a/1", "a/2", "a.b", "a-b/c/d", "b", "a/1x/y", "\udcff"):
        (workdir / path).parent.mkdir(parents=True, exist_ok=True)
        (workdir / path).write_text("x")
    whole = names(ask(agent, "changed", workdir, 0.0))
    assert len(whole) == 7
    for number, path in enumerate(whole):
        assert names(ask(agent, "changed", workdir, 0.0, after=path)) == whole[number + 1 :]


def test_changed_of_many_files_is_cut_to_what_the_agent_may_answer(
    agent: AgentProcess, workdir: Path
) -> None:
    for number in range(20_000):
        (workdir / f"{number:05}-{'x' * 150}").touch()
    first = ask(agent, "changed", workdir, 0.0)
    assert first["ok"]["cut"] is True
    rest = ask(agent, "changed", workdir, 0.0, after=names(first)[-1])
    assert len(names(first)) + len(names(rest)) == 20_000 and rest["ok"]["cut"] is False


def test_changed_of_missing_working_folder_is_an_error(agent: AgentProcess, workdir: Path) -> None:
    answer = ask(agent, "changed", workdir / "gone", 0.0)
    assert "No such file" in answer["error"]
