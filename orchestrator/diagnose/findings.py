"""Collects what was found: a group for each signature, bounded however often it comes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator.diagnose.model import Match, Place, PythonError
from orchestrator.diagnose.signature import Signature
from orchestrator.diagnose.signatures.python import EXCEPTION

MAX_MATCHES = 4096
MAX_GROUPS = 512
MAX_TEXT = 400

_NUMBER = re.compile(r"\d+")


@dataclass
class Group:
    """The matches of one signature: the first of each rank (source, if that is unknown) and wording."""

    signature: Signature
    matches: dict[object, Match] = field(default_factory=dict)
    count: int = 0

    @property
    def ranks(self) -> set[int]:
        """The ranks that have it."""
        return {m.place.rank for m in self.matches.values() if m.place.rank is not None}


class Findings:
    """All groups, in the order in which they were found."""

    def __init__(self) -> None:
        self._groups: dict[object, Group] = {}

    def groups(self) -> list[Group]:
        """Return every group, those found first coming first."""
        return list(self._groups.values())

    def of(self, name: str) -> Group | None:
        """Return the group of a signature that is not `EXCEPTION`."""
        return self._groups.get(name)

    def add(self, signature: Signature, match: Match) -> Group:
        """Put a match into its group."""
        key: object = signature.id
        if signature is EXCEPTION and match.error is not None:
            key = _wording(match.error)
            if key not in self._groups and len(self._groups) >= MAX_GROUPS:
                key = signature.id
        group = self._groups.setdefault(key, Group(signature))
        group.count += 1
        who = match.place.rank if match.place.rank is not None else match.place.source
        one = (who, *match.details.values())
        before = group.matches.get(one)
        if before is None:
            if len(group.matches) < MAX_MATCHES:
                group.matches[one] = match
        elif before.error is None and match.error is not None:
            # A library logs what it then raises: the line came first, the traceback says more.
            group.matches[one] = replace(before, error=match.error, is_logged=match.is_logged)
        elif before.is_logged and match.error is not None and not match.is_logged:
            group.matches[one] = match  # it was caught, and raised again
        return group


def match(
    place: Place,
    text: str,
    details: Iterable[tuple[str, str]] = (),
    error: PythonError | None = None,
    *,
    is_logged: bool = False,
) -> Match:
    """Make a match whose texts are short and harmless to print."""
    held = {name: shown(value) for name, value in details}
    return Match(place, shown(text), held, error, is_logged)


def shown(text: str) -> str:
    """Return the text as it may be printed: one line, no control characters, at most `MAX_TEXT`."""
    line = " ".join(text[: 4 * MAX_TEXT].split())
    line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _wording(error: PythonError) -> object:
    """What makes two exceptions the same, on whichever ranks."""
    return (error.type, _NUMBER.sub("#", error.message), error.file, error.line)
