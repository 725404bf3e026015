"""Who holds the lock that a rank waited for, and whether any process does."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.control.looks.holder import Holder
from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.control.looks.places import PLACES
from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe
from orchestrator.util import durations
from orchestrator.util.quoting import line_to_paste


@dataclass(frozen=True)
class LockHolder(Holder):
    """A process that has the file open; `locks`: it holds a lock of the kernel on it."""

    locks: bool


@dataclass(frozen=True)
class HeldFile:
    """A file, how many seconds ago it was changed, and its holders; `hidden`: there may be others."""

    path: str
    exists: bool
    age: float | None
    holders: tuple[LockHolder, ...]
    hidden: bool


FILES: Probe[tuple[HeldFile, ...]] = Probe("holders.files", reader(tuple[HeldFile, ...]))


def _path(subject: Subject) -> str:
    path = subject.hit.first.details.get("path", "")
    return posixpath.join(subject.node.cwd, path) if path else ""


def _asks(subject: Subject) -> Mapping[str, Mapping[str, Any]]:
    path = _path(subject)
    return {FILES.name: {"paths": [path]}, PLACES.name: {"paths": [path]}} if path else {}


def judge(subject: Subject, known: Known) -> Finding:
    """Return who holds the lock."""
    path = _path(subject)
    answer, places = known.of(FILES), known.of(PLACES)
    if not path:
        return Finding(("locks: the output names no file",))
    if isinstance(answer, NoAnswer):
        return unanswered("locks", answer)
    found = next((each for each in answer if each.path == path), None)
    if found is None or not found.exists:
        cause = Cause(
            f"{path} was locked by another process, which has removed it since",
            "run again; a longer timeout helps if ranks wait for each other",
        )
        return Finding((f"{path}: it does not exist any more",), cause)
    if found.holders:
        holder = found.holders[0]
        cause = Cause(
            f"{path} is held by {holder.described(subject)}",
            "let one rank of a node do this before a barrier, or wait longer for the lock"
            if holder.is_of(subject)
            else f"wait until it has ended, or end it on {subject.node.name}: {holder.way_to_end}",
        )
        return Finding(
            (f"{path}: {holder.name} {'has locked' if holder.locks else 'has opened'} it",), cause
        )
    age = "" if found.age is None else f", changed {durations.age(found.age)} ago"
    whose = " that orch may look at" if found.hidden else ""
    nobody = f"{path}: no process on {subject.node.name}{whose} has it open{age}"
    shared = not isinstance(places, NoAnswer) and any(
        place.is_networked for place in places if place.path == path
    )
    if shared or found.hidden:
        return Finding((f"{nobody}; one elsewhere may" if shared else nobody,))
    cause = Cause(
        f"no process on {subject.node.name} holds {path}: one that has ended left it{age}",
        f"remove it there: {line_to_paste(['rm', path])}",
    )
    return Finding((nobody,), cause)


LOCKS_LOOK = Look("locks", (FILES, PLACES), _asks, judge)
