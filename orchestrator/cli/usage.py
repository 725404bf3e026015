"""Errors of the command line in orch's words, and the help of `orch`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import UsageError
from orchestrator.util.text import nearest

# Typer brings click along under another name since about 0.20: its classes are found from here.
TypersUsageError: Any = typer.BadParameter.__base__

_MAX_WIDTH = 102  # columns of help, with its margin of two
_MAX_NAME_WIDTH = 30
_MAX_SUMMARY = 200
_MARGINS = 4  # before and behind names
_UNBROKEN = "\N{NO-BREAK SPACE}"
_BRACKETS = re.compile(r"\[[^]]*\]")

_OPTION = r"Invalid value for '(?P<name>[^']+)'(?: / '[^']+')*: "
_INTEGER = re.compile(_OPTION + r".*\binteger\b.*")
_AT_LEAST = re.compile(_OPTION + r"Input should be greater than or equal to (?P<least>\S+)")
_AT_MOST = re.compile(_OPTION + r"Input should be less than or equal to (?P<most>\S+)")
_CHOICE = re.compile(
    _OPTION + r"(?:Value error, )?(?>'(?P<word>.*?)' is not one of )(?P<choices>'.*')\.?"
)
_OTHER = re.compile(_OPTION + r"(?:Value error, )?(?P<rest>.*)", re.DOTALL)
_NO_OPTION = re.compile(
    r"No such option: (?P<name>\S+)(?: \(Possible options: (?P<near>[^)]*)\))?.*"
)
_NO_VALUE = re.compile(r"Option '(?P<name>[^']+)' requires an argument\.")
_TOO_MANY = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((?P<words>.*)\)")
_MISSING = re.compile(r"Missing argument '(?P<name>[^']+)'\.")


def help_of(write: Callable[[Any], str], context: Any) -> str:
    """Return the help that `write` writes for the context, as wide as the terminal, up to a limit."""
    if context.terminal_width is None:
        context.terminal_width = min(shutil.get_terminal_size().columns, _MAX_WIDTH) - 2
    return write(context).replace(_UNBROKEN, " ")


def write_group(name: str, rows: Sequence[tuple[str, str]], formatter: Any) -> None:
    """Write names with their help below the heading of their group.

    What is in brackets, such as a default, is on one line if that is possible. In a narrow terminal long
    names are on lines of their own.
    """
    most = min(_MAX_NAME_WIDTH, formatter.width // 3)
    names = min(most, max(len(row[0]) for row in rows))
    room = formatter.width - names - _MARGINS
    with formatter.section(name):
        formatter.write_dl([(word, _unbroken(text, room)) for word, text in rows], col_max=most)


def _unbroken(text: str, room: int) -> str:
    """Return `text` with blanks at which lines are not broken in brackets that fit into `room` columns."""
    return _BRACKETS.sub(
        lambda found: found[0].replace(" ", _UNBROKEN) if len(found[0]) <= room else found[0], text
    )


class Group(TyperGroup):
    """A group of commands; an error in the words after them is raised as orch's own UsageError."""

    def get_help(self, ctx: Any) -> str:
        return help_of(super().get_help, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in groups, then the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                help_text = command.get_short_help_str(_MAX_SUMMARY)
                group = getattr(command, "rich_help_panel", "")
                groups.setdefault(group, []).append((f"{name:<9}", help_text))
        records = (each.get_help_record(ctx) for each in self.get_params(ctx))
        groups["Options"] = [record for record in records if record is not None]
        for group, rows in groups.items():
            write_group(group, rows, formatter)

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _own_errors():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _own_errors():
            return super().invoke(ctx)


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except TypersUsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            raise
        path = "orch" if error.ctx is None else _command(error.ctx)
        raise UsageError(
            sentence(error.format_message(), path), remedy=f"see `{path} --help`"
        ) from None


def _command(context: Any) -> str:
    """Return the command as typed, `orch` for the program however it was started."""
    return " ".join(["orch", *context.command_path.split()[_words_of_program(context) :]])


def _words_of_program(context: Any) -> int:
    while context.parent is not None:
        context = context.parent
    return len((context.info_name or "").split())


def sentence(message: str, command: str) -> str:
    """Return one of Typer's messages as a sentence with what was typed and what is expected."""
    if found := _INTEGER.fullmatch(message):
        return f"{found['name']} takes a whole number"
    if found := _AT_LEAST.fullmatch(message):
        return f"{found['name']} takes a number of at least {found['least']}"
    if found := _AT_MOST.fullmatch(message):
        return f"{found['name']} takes a number of at most {found['most']}"
    if found := _CHOICE.fullmatch(message):
        choices = re.findall("'([^']*)'", found["choices"])
        hint = _hint(found["word"], choices)
        return f"{found['name']} {found['word']}: expected one of {', '.join(choices)}{hint}"
    if found := _NO_OPTION.fullmatch(message):
        near = filter(None, (found["near"] or "").split(", "))
        return f"{command} has no option {found['name']}{_hint(found['name'], near)}"
    if found := _MISSING.fullmatch(message):
        return f"{found['name']} is missing: {command} [OPTIONS] {found['name']} ..."
    if found := _NO_VALUE.fullmatch(message):
        return f"{found['name']} needs a value"
    if found := _TOO_MANY.fullmatch(message):
        return f"{command}: unexpected words: {found['words']}"
    if found := _OTHER.fullmatch(message):
        return f"{found['name']}: {found['rest']}"
    return message


def _hint(word: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence on a `word` that is none of the choices: the nearest of them."""
    meant = nearest(word, choices)
    return f"; did you mean {meant}?" if meant else ""
