"""The file of defaults is the nearest one, and one that others can write is refused."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from orchestrator.api.defaults.find import Source, find_source
from orchestrator.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, two below `tmp_path`."""
    monkeypatch.delenv("ORCH_CONFIG", raising=False)
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def found() -> Source:
    source = find_source()
    assert source is not None
    return source


def test_find_source_takes_the_nearest_file(folder: Path) -> None:
    assert find_source() is None
    (folder.parent.parent / "orch.toml").write_text("")
    assert str(found()) == "../../orch.toml"
    (folder.parent / "pyproject.toml").write_text("[tool.orch]\nnproc = 2\n")
    assert (str(found()), found().table) == ("../pyproject.toml", {"nproc": 2})
    (folder / "orch.toml").write_text("nproc = 3\n")
    assert (str(found()), found().table) == ("orch.toml", {"nproc": 3})


@pytest.mark.parametrize(
    "text",
    [
        "[project]\nname = 'torch-orch'\n",
        "[tool.ruff]\nline-length = 100 # not orch\n",
        "tool = 3 # orch\n",
        "",
    ],
)
def test_pyproject_without_the_table_is_passed_over(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert find_source() is None


@pytest.mark.parametrize("text", ["tool.orch.nproc = 2", '[tool."\\u006frch"]\nnproc = 2'])
def test_table_is_found_however_its_name_is_written(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert found().table == {"nproc": 2}


def test_two_files_in_one_folder_are_refused(folder: Path) -> None:
    (folder / "orch.toml").write_text("")
    (folder / "pyproject.toml").write_text("[tool.orch]\n")
    with pytest.raises(UsageError) as caught:
        find_source()
    assert caught.value.message == ("orch.toml and [tool.orch] in pyproject.toml both set defaults")
    assert caught.value.remedy == "keep one of them, or name one: ORCH_CONFIG=orch.toml"


def test_variable_names_another_file_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "orch.toml").write_text("nproc = 2")
    monkeypatch.setenv("ORCH_CONFIG", "/dev/null")
    assert found().table == {}
    (tmp_path / "other.toml").write_text("nproc = 3")
    monkeypatch.setenv("ORCH_CONFIG", "../../other.toml")
    assert (found().path.resolve(), found().table) == (tmp_path / "other.toml", {"nproc": 3})
    monkeypatch.setenv("ORCH_CONFIG", "none.toml")
    with pytest.raises(UsageError, match=r"ORCH_CONFIG: none.toml: there is no such file"):
        find_source()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "pyproject.toml"))
    with pytest.raises(UsageError, match=r"pyproject.toml has no \[tool.orch\]"):
        find_source()


def test_file_that_all_can_write_is_refused_unless_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "orch.toml"
    path.write_text("nproc = 2")
    path.chmod(0o666)
    with pytest.raises(UsageError) as caught:
        find_source()
    assert caught.value.message == "orch.toml sets defaults, and it can be written by everybody"
    assert caught.value.remedy == (
        f"chmod go-w {path}; to use it as it is: ORCH_CONFIG=orch.toml; to ignore it: "
        "ORCH_CONFIG=/dev/null"
    )
    monkeypatch.setenv("ORCH_CONFIG", "orch.toml")
    assert found().table == {"nproc": 2}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_file_of_another_user_is_refused(folder: Path) -> None:
    (folder / "orch.toml").write_text("nproc = 2")
    os.chown(folder / "orch.toml", 65534, -1)
    with pytest.raises(
        UsageError, match=r"orch.toml sets defaults, and it belongs to \S+ \(uid 65534\)"
    ):
        find_source()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_folders_that_the_user_cannot_search_have_no_file(folder: Path) -> None:
    folder.chmod(0o700)
    os.seteuid(65534)
    try:
        assert find_source() is None
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_file_that_the_user_cannot_read_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.chdir(name)
        Path("pyproject.toml").write_text("[project]\n")
        Path("pyproject.toml").chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(UsageError, match=r"pyproject\.toml: it cannot be read") as caught:
                find_source()
        finally:
            os.seteuid(0)
            monkeypatch.undo()
    assert caught.value.remedy == "to ignore it: ORCH_CONFIG=/dev/null"


def test_pyproject_of_another_user_without_the_table_is_no_obstacle(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.ruff]\n")
    (folder / "pyproject.toml").chmod(0o666)
    assert find_source() is None


def test_text_that_is_not_toml_is_named_with_its_place(folder: Path) -> None:
    (folder / "orch.toml").write_text("nproc = 2\nlauncher = torchrun\n")
    with pytest.raises(UsageError) as caught:
        find_source()
    assert caught.value.message.startswith("orch.toml:2:12: it is not TOML: ")


def test_current_folder_that_was_removed_has_no_file(folder: Path) -> None:
    folder.rmdir()
    assert find_source() is None
