"""Errors of the command line in orch's words, and the help of `orch`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import UsageError
from orchestrator.util.text import nearest

# Typer brings click along under another name since about 0.20: its classes are found from here.
TypersUsageError: Any = typer.BadParameter.__base__

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


class Group(TyperGroup):
    """A group of commands; an error in the words after them is raised as orch's own UsageError."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in groups, then the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                help_text = command.get_short_help_str(formatter.width)
                group = getattr(command, "rich_help_panel", "")
                groups.setdefault(group, []).append((f"{name:<9}", help_text))
        records = (each.get_help_record(ctx) for each in self.get_params(ctx))
        groups["Options"] = [record for record in records if record is not None]
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)

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
