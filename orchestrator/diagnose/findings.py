"""Collect what was found: one group for each signature, of limited size."""

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
    """The matches of one signature: the first of each rank (or source) with the same details.

    `standing` are the sources after whose last match nothing shows that the program continued.
    """

    signature: Signature
    matches: dict[object, Match] = field(default_factory=dict)
    count: int = 0
    standing: set[str] = field(default_factory=set)

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
        """Return the group of a signature other than `EXCEPTION`."""
        return self._groups.get(name)

    def add(self, signature: Signature, match: Match) -> Group:
        """Add a match to its group."""
        key: object = signature.id
        if signature is EXCEPTION and match.error is not None:
            key = _identity(match.error)
            if key not in self._groups and len(self._groups) >= MAX_GROUPS:
                key = signature.id
        group = self._groups.setdefault(key, Group(signature))
        group.count += 1
        group.standing.add(match.place.source)
        place = match.place
        who = (place.node, place.source) if place.rank is None else place.rank
        same = (who, *match.details.values())
        before = group.matches.get(same)
        if before is None:
            if len(group.matches) < MAX_MATCHES:
                group.matches[same] = match
        elif before.error is None and match.error is not None:
            # A library logged what it then raised: keep the place of the line and the error.
            group.matches[same] = replace(before, error=match.error, is_logged=match.is_logged)
        elif before.is_logged and match.error is not None and not match.is_logged:
            group.matches[same] = match  # it was caught, and raised again
        return group


def match(
    place: Place,
    text: str,
    details: Iterable[tuple[str, str]] = (),
    error: PythonError | None = None,
    *,
    is_logged: bool = False,
) -> Match:
    """Return a match with short, printable texts."""
    shown = {name: _printable(value) for name, value in details}
    return Match(place, _printable(text), shown, error, is_logged)


def _printable(text: str) -> str:
    """Return `text` as one line without control characters, of at most `MAX_TEXT` characters."""
    line = " ".join(text[: 4 * MAX_TEXT].split())
    line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _identity(error: PythonError) -> object:
    """Return what is the same for one exception on several ranks."""
    return (error.type, _NUMBER.sub("#", error.message), error.file, error.line)
