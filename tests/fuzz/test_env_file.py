"""Any --env-file gives variables that a process can have, or a UsageError without values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.api.environment import environment_of
from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import read_bounded

from .readers import contents, corpus, outcome, special_files

PIECES = (b"A=", b"\n", b"=", b"export ", b"'", b'"', b"#", b"\r", b"\0", b"\xe2\x80\xa8", b"\xff")


def read(file: Path) -> None:
    found = outcome(lambda: environment_of([], file), UsageError)
    if found is None:
        return
    environment, secrets = found
    for name, value in environment.items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        assert "\0" not in value
        assert "\n" not in value
        assert name in secrets


@pytest.mark.parametrize("file", corpus("env_file"), ids=lambda file: file.name)
def test_file_of_the_corpus_gives_variables_or_an_error(file: Path) -> None:
    read(file)


@given(contents("env_file", *PIECES))
def test_any_bytes_give_variables_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "file.env"
    file.write_bytes(content)
    read(file)


def test_special_files_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_bounded, "__defaults__", (0.05,))
    for thing in special_files(tmp_path / "d"):
        read(thing)
