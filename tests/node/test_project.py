"""The working folder of a project: one for each, found again, and never of another owner."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.node import project

A, B = "a" * 32, "b" * 32


def find(wanted: Path, owner: str, create: bool = True) -> project.Folder:
    return project.find(str(wanted), owner, f"me@here:/{owner[0]}/exp", create)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_two_projects_of_one_name_keep_a_folder_each(tmp_path: Path) -> None:
    wanted = tmp_path / "orch/exp"
    first, second = find(wanted, A), find(wanted, B)
    assert (first.path, first.is_new, first.passed) == (str(wanted), True, [])
    assert (second.path, second.is_new) == (f"{wanted}-2", True)
    assert second.passed == [(str(wanted), "me@here:/a/exp")]
    (wanted / "snapshot.pt").touch()
    for owner, path in ((A, first.path), (B, second.path)):
        assert find(wanted, owner) == project.Folder(path, False, [])


def test_project_keeps_its_folder_if_a_lower_number_becomes_free(tmp_path: Path) -> None:
    wanted = tmp_path / "exp"
    find(wanted, A)
    own = find(wanted, B).path
    shutil.rmtree(wanted)
    assert find(wanted, B).path == own
    assert find(wanted, A).path == str(wanted)


def test_folder_with_unowned_files_is_passed(tmp_path: Path) -> None:
    wanted = tmp_path / "exp"
    wanted.mkdir()
    (wanted / "data").touch()
    found = find(wanted, A)
    assert (found.path, found.passed) == (f"{wanted}-2", [(str(wanted), "")])
    assert names(wanted) == ["data"]


def test_empty_folder_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    assert find(tmp_path / "exp", A).path == str(tmp_path / "exp")


@pytest.mark.parametrize("kind", ["file", "dangling", "loop"])
def test_path_that_is_no_folder_is_passed(tmp_path: Path, kind: str) -> None:
    wanted = tmp_path / "exp"
    if kind == "file":
        wanted.touch()
    else:
        wanted.symlink_to("nowhere" if kind == "dangling" else "exp")
    assert find(wanted, A).path == f"{wanted}-2"


def test_copied_folder_is_not_the_projects(tmp_path: Path) -> None:
    find(tmp_path / "exp", A)
    shutil.copytree(tmp_path / "exp", tmp_path / "exp-2")
    shutil.rmtree(tmp_path / "exp")
    (tmp_path / "exp").mkdir()
    assert find(tmp_path / "exp", A).path == str(tmp_path / "exp")


def test_find_without_create_makes_nothing(tmp_path: Path) -> None:
    assert find(tmp_path / "none/exp", A, create=False).path == str(tmp_path / "none/exp")
    assert not (tmp_path / "none").exists()
    find(tmp_path / "exp", A)
    assert find(tmp_path / "exp", B, create=False).path == str(tmp_path / "exp-2")
    assert not (tmp_path / "exp-2").exists()
    assert find(tmp_path / "exp", A, create=False).is_new is False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folder_of_another_user_is_never_shared(tmp_path: Path) -> None:
    find(tmp_path / "exp", A)
    os.chown(tmp_path / "exp", 12345, 12345)
    assert find(tmp_path / "exp", A).path == str(tmp_path / "exp-2")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"folder": "exp"}), '{"folder": 3}'])
def test_folder_with_invalid_mark_is_passed(tmp_path: Path, text: str) -> None:
    find(tmp_path / "exp", A)
    (tmp_path / "exp" / project.MARK).write_text(text)
    assert find(tmp_path / "exp", A).path == str(tmp_path / "exp-2")


def test_lost_race_for_a_folder_takes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another project claims it between the check and the claim."""
    put = project._put

    def slow(temporary: str, mark: str) -> None:
        monkeypatch.setattr(project, "_put", put)
        value = {"folder": "exp", "source": "them", "owner": B}
        Path(mark).write_text(json.dumps(value))
        put(temporary, mark)

    monkeypatch.setattr(project, "_put", slow)
    found = find(tmp_path / "exp", A)
    assert (found.path, found.passed) == (
        str(tmp_path / "exp-2"),
        [(str(tmp_path / "exp"), "them")],
    )
    assert names(tmp_path / "exp") == [project.MARK]


def test_claim_that_was_cut_off_leaves_the_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(project, "_put", cut_off)
        patch.setattr("orchestrator.node.files.remove", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            find(tmp_path / "exp", A)
    assert len(names(tmp_path / "exp")) == 1
    assert find(tmp_path / "exp", B).path == str(tmp_path / "exp")
