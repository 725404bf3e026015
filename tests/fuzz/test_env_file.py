"""Whatever an --env-file is, it is variables that a process can have, or a UsageError without values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.api.environment import environment_of
from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import read_bounded

from .doors import contents, corpus, outcome, strange_things

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
def test_nasty_file_is_variables_or_an_error(file: Path) -> None:
    read(file)


@given(contents("env_file", *PIECES))
def test_any_bytes_are_variables_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "file.env"
    file.write_bytes(content)
    read(file)


def test_what_is_no_file_at_all_is_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_bounded, "__defaults__", (0.05,))
    for thing in strange_things(tmp_path / "d"):
        read(thing)
