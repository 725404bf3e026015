"""`.deepspeed_env`, read as DeepSpeed and the shell of a node read it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.plan.launchers.deepspeed_env import _as_a_shell_reads, deepspeed_variables


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The home and the current folder."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(here)
    return home, here


def test_current_folder_wins_over_the_home(folders: tuple[Path, Path]) -> None:
    home, here = folders
    (home / ".deepspeed_env").write_text("A=home\nB=home\n")
    (here / ".deepspeed_env").write_text("A=here\nC=1\n")
    assert deepspeed_variables() == {"A": "here", "B": "home", "C": "1"}


def test_ds_env_file_names_it(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, here = folders
    (here / ".deepspeed_env").write_text("A=1\n")
    (here / "mine").write_text("B=1\n")
    for name in ("mine", str(here / "mine")):
        monkeypatch.setenv("DS_ENV_FILE", name)
        assert deepspeed_variables() == {"B": "1"}
    monkeypatch.setenv("DS_ENV_FILE", "none")
    assert deepspeed_variables() == {}


def test_blank_lines_and_comments_are_skipped(folders: tuple[Path, Path]) -> None:
    text = "\n  \n# a comment\nA = b c \nexport NCCL_DEBUG=INFO\nE=\nF=a=b\r\n"
    (folders[1] / ".deepspeed_env").write_bytes(text.encode())
    assert deepspeed_variables() == {"A": "b c", "NCCL_DEBUG": "INFO", "E": "", "F": "a=b"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nothing", "not a line K=V"),
        (b"A B=1", "a variable's name"),
        (b"PATH=/opt/bin:$PATH", r"leaves to the shell of each node"),
        (b"A=`date`", r"leaves to the shell of each node"),
        (b'A="b c"', "quotes of its own"),
        (b'A=b" c', "quotes of its own"),
        (b"A=b\\", None),
    ],
)
def test_line_that_orch_cannot_follow_is_refused_without_its_value(
    folders: tuple[Path, Path], line: bytes, message: str | None
) -> None:
    (folders[1] / ".deepspeed_env").write_bytes(b"OK=1\n" + line + b"\n")
    with pytest.raises(UsageError, match=message or "quotes of its own") as caught:
        deepspeed_variables()
    assert ".deepspeed_env:2: " in caught.value.message
    assert "/opt/bin" not in str(caught.value)


def test_file_that_is_no_text_is_refused(folders: tuple[Path, Path]) -> None:
    (folders[1] / ".deepspeed_env").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="not a text file in UTF-8"):
        deepspeed_variables()


def test_file_with_an_impossible_name_is_refused(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ENV_FILE", "x" * 300)
    with pytest.raises(UsageError, match="xxx: File name too long"):
        deepspeed_variables()


def in_a_shell(value: str) -> str | None:
    """Return what sh makes of a value as DeepSpeed writes it into a command; None for several words.

    `MultiNodeRunner.add_export` of DeepSpeed 0.19, and `export K=V;` of its PDSHRunner.
    """
    written = f'"{value}"' if re.search(r"[^\w@%+=:,./-]", value) else value
    line = f'set -- X={written}; test $# = 1 || exit 9; printf "%s" "${{1#X=}}"'
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False, text=True)
    return done.stdout if done.returncode == 0 else None


@given(st.text(st.sampled_from("ab1 \"'\\;#&|<>*?~!()={}:/.,-_%@+"), max_size=8))
def test_value_is_what_a_shell_would_read(value: str) -> None:
    value = value.strip()
    try:
        found = _as_a_shell_reads(value)
    except ValueError:
        return
    assert found == in_a_shell(value)
