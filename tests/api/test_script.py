"""The script and its folder exist and are of the right kind, or an error says why not."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Unpack

import pytest

from orchestrator.api.job import JobOptions, JobRequest, read_job
from orchestrator.api.script import is_readable_file, script_and_source
from orchestrator.errors import UsageError


def test_script_of_another_kind_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, message in (
        (str(tmp_path / "pipe"), "not a file"),
        (str(tmp_path / "socket"), "not a file"),
        (str(tmp_path), "not a file"),
        ("/dev/zero", "not a file"),
        (str(tmp_path / "none"), "no such file"),
        (str(tmp_path / "file" / "x"), "no such file"),
        (str(tmp_path / "loop"), "symbolic links"),
        ("x" * 300, "too long"),
        ("a\0b", "null byte"),
        ("\x1b[2J", "no such file"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            script_and_source(name, module=False, sync=None, no_sync=False)
        assert str(caught.value).replace("\n", "").isprintable()
        assert not is_readable_file(Path(name))


def test_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "t.py"
    script.touch()
    assert is_readable_file(script)
    for folder, message in ((script, "not a folder"), (tmp_path / "none", "no such folder")):
        with pytest.raises(UsageError, match=f"--sync .*: {message}"):
            script_and_source(str(script), module=False, sync=folder, no_sync=False)


def test_unreadable_script_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "t.py"
    script.touch(mode=0o000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(UsageError, match=r"t\.py: Permission denied"):
        script_and_source(str(script), module=False, sync=None, no_sync=False)
    assert not is_readable_file(script)


# -- which folder goes ------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a home; it is the current folder."""
    project = tmp_path / "home/exp"
    (project / "scripts").mkdir(parents=True)
    for name in ("scripts/train.py", "conf.json", "top.py"):
        (project / name).touch()
    (tmp_path / "home/hello.py").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(project)
    return project


def asked_for(script: str, *arguments: str, **options: Unpack[JobOptions]) -> JobRequest:
    return read_job(script, arguments, options)


def test_current_folder_is_synced_if_it_contains_the_script(project: Path) -> None:
    for name in ("scripts/train.py", str(project / "scripts/train.py"), "./scripts/train.py"):
        asked = asked_for(name, "conf.json")
        assert asked.source is not None
        assert asked.source.absolute() == project
        assert (asked.job.script, asked.job.folder) == ("scripts/train.py", "")
        assert asked.job.workdir_name == "exp"


def test_folder_of_the_script_is_synced_if_it_is_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x.py").touch()
    for name in (str(tmp_path / "other/x.py"), "../../other/x.py"):
        asked = asked_for(name)
        assert asked.source is not None
        assert asked.source.resolve() == tmp_path / "other"
        assert (asked.job.script, asked.job.workdir_name) == ("x.py", "other")
    monkeypatch.chdir(tmp_path / "home")  # which never goes
    asked = asked_for("exp/scripts/train.py")
    assert asked.source == Path("exp/scripts")


def test_job_starts_in_the_copy_of_the_current_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "scripts")
    for sync in (Path(".."), project):
        asked = asked_for("train.py", sync=sync)
        assert (asked.job.script, asked.job.folder) == ("train.py", "scripts")
    asked = asked_for("../top.py")  # the script's folder goes, and has the current one
    assert (asked.job.script, asked.job.folder) == ("../top.py", "scripts")
    assert asked_for("top", module=True, sync=Path("..")).job.folder == "scripts"


def test_job_starts_at_the_top_if_the_current_folder_is_ignored(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".gitignore").write_text("scratch/\n")
    (project / "scratch").mkdir()
    monkeypatch.chdir(project / "scratch")
    asked = asked_for("../scripts/train.py", sync=Path(".."))
    assert (asked.job.script, asked.job.folder) == ("scripts/train.py", "")


def test_script_outside_of_the_named_folder_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="is not inside scripts, the folder that is synced"):
        asked_for("scripts/../top.py", sync=Path("scripts"))


def test_home_is_synced_only_if_it_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.chdir(home)
    for module in (False, True):
        with pytest.raises(
            UsageError, match=r"(?s)is your home folder \(.*--sync DIR.*--no-sync"
        ) as caught:
            asked_for("hello" if module else "hello.py", module=module)
        assert str(home) in str(caught.value)
    assert asked_for("hello.py", sync=Path()).source == Path()
    assert asked_for("hello.py", no_sync=True).source is None
    monkeypatch.chdir(project)
    with pytest.raises(UsageError, match="is your home folder"):
        asked_for("../hello.py")


def test_script_reached_through_a_link_is_found(project: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(project)
    asked = asked_for(str(tmp_path / "way/scripts/train.py"))
    assert asked.source == Path()
    assert asked.job.script == "scripts/train.py"
