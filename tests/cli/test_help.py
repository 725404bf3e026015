"""Help fits the terminal, and what is in brackets is not broken if there is room for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from orchestrator.cli.app import app

ROOT: Any = get_command(app)
COMMANDS = {"orch": ROOT, **{f"orch {name}": each for name, each in ROOT.commands.items()}}


def help_of(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    command = COMMANDS[name]
    context = command.context_class(command, info_name=name, help_option_names=["-h", "--help"])
    return str(command.get_help(context))


def prose(text: str) -> list[str]:
    """Return the lines that may be wrapped: not the examples, which are to be pasted."""
    return re.sub(r"  Examples:\n(?:    .*\n|\n(?=    ))+", "", text).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_as_wide_as_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(name, width, monkeypatch)
    assert max(map(len, prose(text))) <= min(width, 102)
    assert "\N{NO-BREAK SPACE}" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_default_in_brackets_is_on_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMMANDS:
        for line in help_of(name, width, monkeypatch).splitlines():
            opened = re.search(r"\[(?:default|required)[^]]*$", line)
            # One that is longer than the column of the help is broken where the column ends.
            assert opened is None or len(line) > width - 20, (name, line)


def test_summaries_of_commands_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(help_of("orch", 40, monkeypatch).split())
    for command in ROOT.commands.values():
        if not command.hidden:
            assert command.get_short_help_str(200) in text
