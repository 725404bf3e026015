"""The faults of an inventory file: gathered in one go, told in a way that helps and harms nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from orchestrator.errors import InventoryError, Problem

MOST_PROBLEMS = 100  # more than anybody reads; a hostile file could bring millions
_LONGEST_QUOTE = 60
_LONGEST_KEY = 100

# What other tools call the same thing; no likeness of letters leads there.
_ELSEWHERE = {
    "host": "name",
    "hostname": "address",
    "ip": "address",
    "username": "user",
    "login": "user",
    "key": "identity_file",
    "ssh_key": "identity_file",
    "jump": "proxy_jump",
    "bastion": "proxy_jump",
    "gateway": "proxy_jump",
    "interpreter": "python",
    "venv": "python",
    "dir": "workdir",
    "cwd": "workdir",
    "gpus": "devices",
    "slots": "devices",
    "nproc": "devices",
    "nproc_per_node": "devices",
    "environment": "env",
    "nodes": "hosts",
    "master": "main",
}


class TooMany(Exception):
    """Reading on would bring more of the same, or more than memory holds."""


class Problems:
    """The faults found so far in `source`, the name of a file or of what else is read."""

    def __init__(self, source: Path | str) -> None:
        self._file = printable(str(source))
        # By place and message: an alias leads to the same fault over and over.
        self._found: dict[tuple[int, int, str], Problem] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, column: int, key: str, message: str) -> None:
        """Note a fault; line and column count from 1. Raises TooMany at the hundredth."""
        key = printable(key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 1] + "…")
        problem = Problem(self._file, line, column, key, message)
        self._found.setdefault((line, column, message), problem)
        if len(self._found) == MOST_PROBLEMS:
            raise TooMany

    def error(self) -> InventoryError:
        """All of them as one error, in the file's order."""
        found = sorted(self._found.values(), key=lambda problem: (problem.line, problem.column))
        lines = [str(problem) for problem in found]
        if len(found) > 1:
            at_least = "at least " if len(found) == MOST_PROBLEMS else ""
            lines.insert(0, f"{self._file}: {at_least}{len(found)} problems")
        return InventoryError("\n".join(lines), problems=found)


def printable(text: str) -> str:
    """`text` with everything that a terminal could obey escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def quoted(text: str) -> str:
    """`text` as a message shows it: in quotes, escaped, cut to a bearable length."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…")


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word that is most like `word`, whatever the case, if any comes near."""
    by_lower = {each.lower(): each for each in valid}
    matches = get_close_matches(word[:_LONGEST_QUOTE].lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def meant_by(key: str, valid: Sequence[str]) -> str | None:
    """The valid key that is most likely meant by an unknown one, also by what other tools call it."""
    plain = key.lower().replace("-", "_")
    elsewhere = _ELSEWHERE.get(plain)
    return elsewhere if elsewhere in valid else nearest(plain, valid)


def did_you_mean(key: str, valid: Sequence[str]) -> str:
    """The end of a message about an unknown key: the one most likely meant, or else all of them."""
    meant = meant_by(key, valid)
    return f"did you mean {meant!r}?" if meant else f"valid are {', '.join(valid)}"
