"""Variables for the ranks, from words and from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.environment import environment_of
from orchestrator.errors import UsageError


def test_words_give_values_as_they_are() -> None:
    words = ["A=1", "B=a=b", "C=", "D= $x 'é'\n"]
    assert environment_of(words, None)[0] == {"A": "1", "B": "a=b", "C": "", "D": " $x 'é'\n"}


def test_a_name_alone_takes_the_value_from_here_and_keeps_it_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    assert environment_of(["HF_TOKEN"], None) == ({"HF_TOKEN": "hunter2"}, frozenset({"HF_TOKEN"}))
    with pytest.raises(UsageError, match="NOT_SET_HERE is not set here"):
        environment_of(["NOT_SET_HERE"], None)


def test_a_file_has_comments_quotes_and_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("# comment\n\nA=1\nexport B='x y'\nC=\"q\"\nD=a#b\n")
    environment, secrets = environment_of(["A=2"], file)
    assert environment == {"A": "2", "B": "x y", "C": "q", "D": "a#b"}
    assert secrets == {"B", "C", "D"}


@pytest.mark.parametrize(
    ("line", "message"),
    [("no equals", ":2: not a line K=V"), ("1A=x", ":2: '1A' is not the name"), ("A=\0", "NUL")],
)
def test_a_fault_in_a_file_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "e.env"
    file.write_text(f"OK=1\n{line}\n")
    with pytest.raises(UsageError, match=message):
        environment_of([], file)


def test_a_value_is_not_repeated_in_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        environment_of(["BAD-NAME=hunter2"], None)
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        environment_of([], tmp_path / "none.env")
