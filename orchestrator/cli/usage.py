"""What is wrong with a command line, said as orch says everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import UsageError
from orchestrator.util.text import nearest

# Typer has brought click along since 0.20 or so, under another name: the classes are found from here.
_TypersUsageError: Any = typer.BadParameter.__base__

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
    """The commands; what is wrong with the words after them is a UsageError of orch's own."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _as_ours():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _as_ours():
            return super().invoke(ctx)


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except _TypersUsageError as error:
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
    """Return one of Typer's messages as a sentence that names what was typed and what is expected."""
    if found := _INTEGER.fullmatch(message):
        return f"{found['name']} takes a whole number"
    if found := _AT_LEAST.fullmatch(message):
        return f"{found['name']} takes a number of at least {found['least']}"
    if found := _AT_MOST.fullmatch(message):
        return f"{found['name']} takes a number of at most {found['most']}"
    if found := _CHOICE.fullmatch(message):
        choices = re.findall("'([^']*)'", found["choices"])
        hint = _hint(found["word"], choices)
        return f"{found['name']} {found['word']}: one of {', '.join(choices)} is expected{hint}"
    if found := _NO_OPTION.fullmatch(message):
        near = filter(None, (found["near"] or "").split(", "))
        return f"{command} has no option {found['name']}{_hint(found['name'], near)}"
    if found := _MISSING.fullmatch(message):
        return f"{found['name']} is missing: {command} [OPTIONS] {found['name']} ..."
    if found := _NO_VALUE.fullmatch(message):
        return f"{found['name']} takes a value, which is missing"
    if found := _TOO_MANY.fullmatch(message):
        return f"{command} takes no more words: {found['words']}"
    if found := _OTHER.fullmatch(message):
        return f"{found['name']}: {found['rest']}"
    return message


def _hint(word: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence about a `word` that is none of the choices."""
    meant = nearest(word, choices)
    return f"; did you mean {meant}?" if meant else ""
