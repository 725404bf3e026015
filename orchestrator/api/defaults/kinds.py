"""Kinds of values in a file of defaults: what is expected, and what the command gets for it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.api import values
from orchestrator.api.defaults.find import short
from orchestrator.errors import UsageError
from orchestrator.util.text import printable, quoted, word_set

Schema = Mapping[str, Any]
"""A JSON Schema."""

_PROGRAM_HEADS = (b"#!", b"\x7fELF")
_MAX_TEXT = 4096
# Options of sbatch that say which nodes and for how long; others write files, or start programs.
_OF_NODES = word_set(
    "-A --account -C --constraint -G --gpus -N --nodes -c --cpus-per-task -p --partition -q --qos -t --time"
    " -w --nodelist -x --exclude --comment --exclusive --gpus-per-node --gpus-per-task --gres --mem"
    " --mem-per-cpu --mem-per-gpu --ntasks-per-node --reservation --switches --time-min"
)


@dataclass(frozen=True)
class Kind:
    """What a key takes: `expected` for messages, a schema for editors.

    `read` converts a value of a file in the given folder to that of the command. It raises ValueError with
    the reason if there is more to say than what is expected.
    """

    expected: str
    schema: Schema
    convert: Callable[[Any, Path], Any]

    def read(self, value: object, folder: Path) -> Any:
        """Return the value for the command. Raises ValueError."""
        try:
            return self.convert(value, folder)
        except _Unexpected:
            raise ValueError(f"expected {self.expected}; found {_shown(value)}") from None


class _Unexpected(ValueError):
    """The value is not of this kind; what is expected says enough."""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, Sequence) else printable(str(value), 60)


def _text(value: object, folder: Path) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= _MAX_TEXT:
        raise _Unexpected
    return value


def text(expected: str) -> Kind:
    """Return the kind of one line of text."""
    return Kind(expected, {"type": "string", "minLength": 1}, _text)


def _flag(value: object, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise _Unexpected
    return value


FLAG = Kind("true or false", {"type": "boolean"}, _flag)


def choice(*words: str) -> Kind:
    """Return the kind of one of these words."""

    def convert(value: object, folder: Path) -> str:
        if not isinstance(value, str) or value not in words:
            raise _Unexpected
        return value

    return Kind(f"one of {', '.join(words)}", {"enum": [*words]}, convert)


def number(least: int, most: int) -> Kind:
    """Return the kind of whole numbers in this range."""

    def convert(value: object, folder: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _Unexpected
        return value

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Kind(f"a number from {least} to {most}", schema, convert)


def number_or_auto(most: int) -> Kind:
    """Return the kind of whole numbers from 1, and `auto`."""
    numbers = number(1, most)

    def convert(value: object, folder: Path) -> str:
        return "auto" if value == "auto" else str(numbers.convert(value, folder))

    return Kind(
        f"{numbers.expected}, or auto", {"anyOf": [numbers.schema, {"const": "auto"}]}, convert
    )


def _valid(check: Callable[[Any], object], value: object) -> str:
    """Return a number or text as text, if the function that reads such an option accepts it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Unexpected
    word = f"{value:f}" if isinstance(value, float) else str(value)
    try:
        check(word)
    except (UsageError, ValueError):
        raise _Unexpected from None
    return word


def _nproc(value: object, folder: Path) -> str:
    from orchestrator.api.nproc import parse_nproc

    return _valid(parse_nproc, value)


NPROC = Kind(
    "a number of ranks, auto, or text as for --nproc, such as gpu[0-3]=8,node1=4",
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]},
    _nproc,
)


def time(least: float) -> Kind:
    """Return the kind of times of at least `least` seconds."""
    return Kind(
        f"a time of at least {least:g} s: seconds, or text such as 90s or 2h30m",
        {"anyOf": [{"type": "number", "minimum": least}, {"type": "string"}]},
        lambda value, folder: _valid(lambda word: values.seconds("", word, least), value),
    )


SIZE = Kind(
    "a size: bytes, or text such as 500M or 10G",
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]},
    lambda value, folder: _valid(values.parse_size, value),
)
NODE_RANGE = Kind(
    "two numbers of nodes, the smaller first, such as 2:4",
    {"type": "string", "pattern": "^[1-9][0-9]*:[1-9][0-9]*$"},
    lambda value, folder: _valid(lambda word: values.node_range("", word), value),
)


def _words(value: object, folder: Path) -> list[str]:
    if not isinstance(value, list):
        raise _Unexpected
    return [_text(word, folder) for word in value]


def words(expected: str) -> Kind:
    """Return the kind of lists of text."""
    return Kind(expected, {"type": "array", "items": {"type": "string", "minLength": 1}}, _words)


def _variables(value: object, folder: Path) -> list[str]:
    from orchestrator.inventory.values import variable_name, variable_value

    if not isinstance(value, dict):
        raise _Unexpected
    for name, text_of in value.items():
        variable_name(name)
        if not isinstance(text_of, str):
            raise ValueError(f"{printable(name, 60)}: expected text in quotes")
        try:
            variable_value(text_of)
        except ValueError as error:
            raise ValueError(f"{printable(name, 60)}: {error}") from None  # never with the value
    return [f"{name}={text_of}" for name, text_of in value.items()]


VARIABLES = Kind(
    "a table of variables, such as {NCCL_DEBUG = \"INFO\"}",
    {"type": "object", "additionalProperties": {"type": "string"}},
    _variables,
)  # fmt: skip


def _inside(value: object, folder: Path) -> str:
    path = (folder / _text(value, folder)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(
            f"{quoted(str(value))} is outside of the folder of this file, and a file of defaults may be "
            "someone else's: give the option at each launch"
        )
    return short(path)


def path_inside(expected: str) -> Kind:
    """Return the kind of paths from the file's folder that stay in it, with their links followed."""
    return Kind(expected, {"type": "string", "minLength": 1}, _inside)


def _inventory(value: object, folder: Path) -> str:
    try:
        path = folder / Path(_text(value, folder)).expanduser()
    except RuntimeError:
        raise ValueError(f"{quoted(str(value))}: the home folder is unknown") from None
    path = (
        path.parent.resolve() / path.name
    )  # the file may be a link: paths in it start from the link
    try:
        with path.open("rb") as file:
            is_program = path.stat().st_mode & 0o111 and file.read(4).startswith(_PROGRAM_HEADS)
    except OSError:
        return short(path)  # the command that reads it says why
    if is_program:
        raise ValueError(
            f"{quoted(str(value))} is a program, and a file of defaults may be someone else's: name it "
            "with -i or ORCH_INVENTORY"
        )
    return short(path)


INVENTORY = Kind(
    "the path of an inventory, from this file's folder", {"type": "string"}, _inventory
)


def _slurm(value: object, folder: Path) -> str:
    line = _text(value, folder)
    try:
        options = [word for word in shlex.split(line) if word.startswith("-")]
    except ValueError:
        raise _Unexpected from None
    for option in options:
        name = option.partition("=")[0] if option.startswith("--") else option[:2]
        if name not in _OF_NODES:
            raise ValueError(
                f"{quoted(name)} does not choose nodes: give it with --slurm at a launch"
            )
    return line


SLURM = Kind(
    "options of sbatch that choose nodes, such as --partition gpu --nodes 4",
    {"type": "string"},
    _slurm,
)
