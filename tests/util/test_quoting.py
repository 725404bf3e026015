"""Quoted words pass through a real shell unchanged."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.util.quoting import command_line, home_path, line_to_paste

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
PRINT = [sys.executable, "-IS", "-c", "import sys, os; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"]  # fmt: skip  # noqa: E501
SPECIAL = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "$HOME",
    "`id`",
    "$(id)",
    "a\nb",
    "\\",
    "!",
    "~",
    "é☃",
    "-n",
    "*",
    "a;b",
]


def through_shell(line: str, shell: str = "/bin/sh") -> bytes:
    return subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_special_characters_arrive_unchanged(shell: str) -> None:
    line = command_line([*PRINT, *SPECIAL])
    assert through_shell(line, shell).decode() == "\0".join(SPECIAL)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5))
def test_any_words_arrive_unchanged(words: list[str]) -> None:
    assert through_shell(command_line([*PRINT, *words])) == "\0".join(words).encode()


@settings(max_examples=40, deadline=None)
@given(WORDS)
def test_any_value_of_a_variable_arrives_unchanged(value: str) -> None:
    script = "import sys, os; sys.stdout.buffer.write(os.environb[b'ORCH_TEST'])"
    line = command_line([sys.executable, "-IS", "-c", script], {"ORCH_TEST": value})
    assert through_shell(line) == value.encode()


def test_command_line_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        command_line(["a\0b"])


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("~", "/home/me"),
        ("~/", "/home/me"),
        ("~/a b", "/home/me/a b"),
        ("/x/~", "/x/~"),
        ("py", "py"),
    ],
)
def test_home_path_with_leading_tilde_is_the_home_folder(path: str, shown: str) -> None:
    line = f"HOME=/home/me; printf %s {home_path(path)}"
    assert through_shell(line).decode() == shown


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS | st.text("\x1b\u202e\x85'\\0", max_size=4), min_size=1, max_size=5))
def test_line_to_paste_is_printable_and_has_the_same_words(words: list[str]) -> None:
    line = line_to_paste([*PRINT, *words])
    assert line.isprintable()
    assert through_shell(line, "/bin/bash") == "\0".join(words).encode()


def test_line_to_paste_escapes_undecodable_bytes() -> None:
    assert line_to_paste(["a\udcff0"]) == "$'a\\3770'"
