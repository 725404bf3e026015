"""Faults of an inventory file: collected in one pass, reported with position and likely correction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InventoryError, Problem
from orchestrator.util.text import escaped, nearest

MAX_PROBLEMS = 100  # a hostile file could have millions
_MAX_KEY = 100
_MAX_NAMES = 8  # shown in a hint

# Names that other tools use for these keys, too different in spelling to be found by similarity.
_SYNONYMS = {
    synonym: key
    for key, synonyms in {
        "name": "host",
        "address": "hostname ip",
        "internal_address": "internal_ip private_ip private_address",
        "user": "username login",
        "identity_file": "key ssh_key",
        "proxy_jump": "jump bastion gateway",
        "python": "interpreter venv",
        "workdir": "dir cwd",
        "state": "state_dir agent_dir",
        "devices": "gpus slots nproc nproc_per_node",
        "env": "environment",
        "hosts": "nodes",
        "main": "master",
    }.items()
    for synonym in synonyms.split()
}

_SLOTS = re.compile(r"(\S+)\s+(?:slots|max_slots|gpus|nproc)\s*=\s*(\d{1,4})")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_KEY = re.compile(r"(name|address|user|port)(?::|\s+)(\S+)")


class TooMany(Exception):
    """Reading must stop: there are more faults than are shown, or too many values."""


class Problems:
    """The faults found so far in `source`, the name of a file or other source."""

    def __init__(self, source: Path | str) -> None:
        self._file = escaped(str(source))
        # By position and message: aliases lead to the same fault repeatedly.
        self._found: dict[tuple[int, int, str], Problem] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, column: int, key: str, message: str) -> None:
        """Add a fault; line and column count from 1. Raises TooMany at the hundredth."""
        key = escaped(key if len(key) <= _MAX_KEY else key[: _MAX_KEY - 1] + "…")
        problem = Problem(self._file, line, column, key, message)
        self._found.setdefault((line, column, message), problem)
        if len(self._found) == MAX_PROBLEMS:
            raise TooMany

    def error(self) -> InventoryError:
        """Return all faults as one error, in the order of the file."""
        found = sorted(self._found.values(), key=lambda problem: (problem.line, problem.column))
        lines = [str(problem) for problem in found]
        if len(found) > 1:
            at_least = "at least " if len(found) == MAX_PROBLEMS else ""
            lines.insert(0, f"{self._file}: {at_least}{len(found)} problems")
        return InventoryError("\n".join(lines), problems=found)


def closest_key(key: str, valid: Sequence[str]) -> str | None:
    """Return the valid key that an unknown one most likely means, including names of other tools."""
    normalized = key.lower().replace("-", "_")
    synonym = _SYNONYMS.get(normalized)
    return synonym if synonym in valid else nearest(normalized, valid)


def key_hint(key: str) -> str | None:
    """Return what to write if `key` is a key and its value run together; else None."""
    found = _KEY.fullmatch(key)
    return f"write {found[1]}: {found[2]}, with a blank after the colon" if found else None


def unknown_key(key: str, valid: Sequence[str]) -> str:
    """Return the end of the message about an unknown key: the likely correction, or all valid keys."""
    if hint := key_hint(key):
        return hint
    meant = closest_key(key, valid)
    return f"did you mean {meant!r}?" if meant else f"valid are {', '.join(valid)}"


def host_hint(text: str) -> str | None:
    """Return what to write in place of `text`, which is not a host; None if unknown."""
    if found := _SLOTS.fullmatch(text):
        return f"write {{name: {found[1]}, devices: {found[2]}}}"
    if found := _KEY.fullmatch(text):
        return f"write {found[1]}: {found[2]}, with a colon and a blank"
    if " - " in text:
        return "put each host on a line of its own, all '- ' in the same column"
    if re.fullmatch(r"[^\s,]+([\s,]+[^\s,]+)+", text):
        return "one host for each '- '"
    return None


def hosts_hint(text: str) -> str | None:
    """Return the list that `text` most likely means, `[a, b]`; None if it does not look like names."""
    names = re.split(r"[\s,]+", text.strip())
    if len(names) > _MAX_NAMES or not all(map(_NAME.fullmatch, names)):
        return None
    return f"[{', '.join(names)}]"
