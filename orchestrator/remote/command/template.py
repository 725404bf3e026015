"""A program and its arguments, with placeholders for the values of a host and a line for its shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_SCRIPTS = ("script", "quoted_script")
_VALUES = ("name", "address", "user", "port")


class Template:
    """The option `command`, or `terminal`: a list of words, one of which is, or contains, the script.

    `{name}`, `{address}`, `{user}` and `{port}` are the host's. `{script}` is a line for `sh -c`, or for a
    login shell; `{quoted_script}` is the same as one word of a POSIX shell, for programs that join their
    arguments for another shell, as ssh does. Other braces stay as they are. No shell reads the words here.
    """

    def __init__(self, words: object, option: str = "command") -> None:
        """Raises ValueError if `words` is no such list."""
        if not isinstance(words, list | tuple) or not words:
            raise ValueError(f"{option} is a list of a program and its arguments")
        self.words = tuple(map(_word, words))
        if not self.words[0] or self.words[0].startswith("-"):
            raise ValueError(f"its first word is a program, not {self.words[0]!r}")
        names = [name for word in self.words for name in _PLACEHOLDER.findall(word)]
        for name in names:
            if name not in (*_SCRIPTS, *_VALUES):
                valid = ", ".join(f"{{{each}}}" for each in (*_VALUES, *_SCRIPTS))
                raise ValueError(f"no placeholder is called {{{name}}}; there are {valid}")
        if _PLACEHOLDER.search(self.words[0]) and len(self.words) == 1:
            raise ValueError(f"{option} is a list of a program and its arguments")
        if sum(name in _SCRIPTS for name in names) != 1:
            raise ValueError("exactly one {script}, or {quoted_script}, is in its words")
        self.used = frozenset(names)

    def fill(self, host: Host, line: str) -> list[str]:
        """Return the words for `host`, with `line` as the script.

        Raises UsageError if the host has no value for a placeholder.
        """
        values: Mapping[str, Any] = {
            **{name: getattr(host, name) for name in _VALUES},
            "script": line,
            "quoted_script": shlex.quote(line),
        }
        for name in sorted(self.used):
            if values[name] is None:
                raise UsageError(
                    f"{host.name} has no {name}, which {{{name}}} in the transport's command stands for",
                    remedy=f"set `{name}:` of {host.name} in the inventory, or under `defaults`",
                )
        return [_PLACEHOLDER.sub(lambda match: f"{values[match[1]]}", word) for word in self.words]


def _word(value: object) -> str:
    """Return a word as text; a number or a boolean is written as YAML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and "\0" not in value:
        return value
    raise ValueError(f"each word of command is text, not {value!r:.100}")
