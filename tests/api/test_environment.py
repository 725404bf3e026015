"""Variables for the ranks, from words and from a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orchestrator.api.environment import environment_of
from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import read_bounded


def test_env_words_give_values_unchanged() -> None:
    words = ["A=1", "B=a=b", "C=", "D= $x 'é'\n"]
    assert environment_of(words, None)[0] == {"A": "1", "B": "a=b", "C": "", "D": " $x 'é'\n"}


def test_name_without_a_value_takes_the_local_one_as_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    assert environment_of(["HF_TOKEN"], None) == ({"HF_TOKEN": "hunter2"}, frozenset({"HF_TOKEN"}))
    with pytest.raises(UsageError, match="NOT_SET_HERE is not set here"):
        environment_of(["NOT_SET_HERE"], None)


def test_env_file_has_comments_quotes_and_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("# comment\n\nA=1\nexport B='x y'\nC=\"q\"\nD=a#b\n")
    environment, secrets = environment_of(["A=2"], file)
    assert environment == {"A": "2", "B": "x y", "C": "q", "D": "a#b"}
    assert secrets == {"B", "C", "D"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no equals", ":2: not a line K=V"),
        ("A B=x", ":2: expected a variable's name"),
        ("A=\0", ":2: expected text without NUL"),
        (f"A={'x' * (128 << 10)}", ":2: 131,072 bytes are more than Linux passes on: 131,071"),
        ("\x1b[2J=x", ":2: expected a variable's name"),
    ],
)
def test_fault_in_an_env_file_is_reported_with_its_line(
    tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "e.env"
    file.write_text(f"OK=1\n{line}\n")
    with pytest.raises(UsageError, match=message):
        environment_of([], file)


def test_variable_names_are_those_that_the_kernel_accepts(tmp_path: Path) -> None:
    file = tmp_path / "e.env"
    file.write_text("spark.app.name=x\n1A=1\n")
    given = {"FOO.BAR": "1", "A-B": "2", "BASH_FUNC_x%%": "() { :; }", "é": "3"}
    environment, _ = environment_of([f"{name}={value}" for name, value in given.items()], file)
    assert environment == {"spark.app.name": "x", "1A": "1", **given}
    for name in ("", "A B", "-A", "A\n", "\udcff", "A\0"):
        with pytest.raises(UsageError, match="expected a variable's name"):
            environment_of([f"{name}=1"], None)


def test_error_about_a_variable_does_not_show_its_value() -> None:
    with pytest.raises(UsageError) as caught:
        environment_of(["BAD NAME=hunter2"], None)
    assert "hunter2" not in str(caught.value)


def test_error_about_a_private_key_does_not_show_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "e.env"
    for first in ("KEY=-----BEGIN PRIVATE KEY-----", "OK=1"):
        for line in ("MC4CAQAwBQYDK2VwBCIEIHunter2", "MC4CAQAwBQYDK2VwBCIEIHun/ter2=="):
            file.write_text(f"{first}\n{line}\n")
            with pytest.raises(UsageError) as caught:
                environment_of([], file)
            assert "MC4" not in str(caught.value)


def test_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        environment_of([], tmp_path / "none.env")


def test_env_file_lines_end_at_newlines_only(tmp_path: Path) -> None:
    file = tmp_path / "e.env"
    file.write_bytes("\ufeffA=a\u2028b\x0cc\r\n  export B=1\n".encode())
    assert environment_of([], file)[0] == {"A": "a\u2028b\x0cc", "B": "1"}


def test_impossible_value_of_a_variable_is_refused_without_showing_it() -> None:
    for value in ("hunter2\udcff", "hunter2" * 20_000):
        with pytest.raises(UsageError, match=r"--env 'A': (expected|140,000 bytes)") as caught:
            environment_of([f"A={value}"], None)
        assert "hunter2" not in str(caught.value)


def test_env_file_may_be_a_pipe_and_nothing_else_than_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("A=1\n",))
    writer.start()
    assert environment_of([], pipe)[0] == {"A": "1"}
    writer.join(10)
    monkeypatch.setattr(read_bounded, "__defaults__", (0.05,))
    for path, message in (
        (pipe, "nothing came within"),
        (tmp_path, "it is a folder"),
        (Path("/dev/zero"), "over 8,388,608 bytes"),
        (Path("a\0b"), "embedded null byte"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            environment_of([], path)
        assert str(caught.value).replace("\n", "").isprintable()
