"""What went wrong on many nodes, told once for all on which it is the same: `node[0-2]: no answer`.

Alike are texts that differ in the node's name, or in where it is, alone. What is to be pasted is one line
for all of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import ConnectError, OrchError, Unreachable
from orchestrator.inventory.ranges import fold

_BLANK, _NAME = "\0", "\1"  # for where a node is, and for its name: no message has one
_FOLDABLE = re.compile(r"[A-Za-z0-9._-]+")
_WORDS_OF_SSH = r"( '[^']*')?"  # that stand behind its login, quoted as one


@dataclass(frozen=True)
class VerdictGroup:
    """One verdict on some `nodes`; `evidence` is what each of several has of its own."""

    nodes: tuple[str, ...]
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{fold(self.nodes)}: {self.message}", *(f"    {each}" for each in self.evidence)]
        return "\n".join([*lines, f"  → {self.remedy}"])


def group_verdicts(verdicts: Iterable[Unreachable]) -> list[VerdictGroup]:
    """Return the verdicts, those that are alike as one, in the order of their first nodes."""
    groups: dict[tuple[str, str, str], list[Unreachable]] = {}
    for verdict in verdicts:
        shape = (verdict.cause, _message(verdict), _remedy_shape(verdict))
        groups.setdefault(shape, []).append(verdict)
    return [_one(group) for group in groups.values()]


def connect_error(failures: Sequence[Unreachable], total: int) -> ConnectError:
    """Return the error that these of `total` nodes cannot be reached."""
    return ConnectError(failures, total, [str(each) for each in group_verdicts(failures)])


def grouped_message(errors: Iterable[OrchError]) -> str:
    """Return the rows of `grouped_lines` as one text."""
    return "\n".join(grouped_lines(errors))


def grouped_lines(errors: Iterable[OrchError]) -> list[str]:
    """Return the texts of errors behind their nodes, `node1: ...`, alike ones as one: `node[1-3]: ...`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        name = error.node
        shape = (_shape(error.text, name, every=True), _shape(error.remedy or "", name, every=True))
        groups.setdefault(shape, []).append(name)
    told = []
    for (message, remedy), names in groups.items():
        nodes = fold(names) if names[0] else ""
        head = f"{nodes}: " if nodes else ""
        told.append(head + message.replace(_BLANK, nodes))
        if remedy:
            told[-1] += f"\n  → {remedy.replace(_BLANK, nodes)}"
    return told


def _one(group: Sequence[Unreachable]) -> VerdictGroup:
    first, nodes = group[0], tuple(verdict.node for verdict in group)
    if len(group) == 1:
        return VerdictGroup(nodes, first.message, first.remedy)
    places = list(dict.fromkeys(verdict.place for verdict in group))
    message = _message(first).replace(_BLANK, _places(places)).replace(_NAME, fold(nodes))
    width = max(map(len, nodes))
    evidence = [f"{each.node:<{width}}  {each.evidence}" for each in group if each.evidence]
    return VerdictGroup(nodes, message, _remedy(group), tuple(evidence))


def _message(verdict: Unreachable) -> str:
    """Return the message without what of it is the node's own."""
    message = verdict.message
    if verdict.evidence:
        message = message.replace(f" ({verdict.evidence})", "")
    return _shape(_shape(message, verdict.place), verdict.node, _NAME, every=True)


def _remedy_shape(verdict: Unreachable) -> str:
    """Return the remedy without what of it is the node's own."""
    login, remedy = verdict.login, verdict.remedy
    remedy = remedy.replace(login, _BLANK, 1) if login else _shape(remedy, verdict.place)
    return _shape(remedy, verdict.node, _NAME, every=True)


def _remedy(group: Sequence[Unreachable]) -> str:
    """Return what to do on all of them: a command that names one of them becomes a loop over all."""
    first = group[0]
    shape = _remedy_shape(first)
    if _BLANK not in shape:
        return shape.replace(_NAME, fold(verdict.node for verdict in group))
    logins = list(dict.fromkeys(verdict.login for verdict in group))
    match = re.search(re.escape(first.command) + _WORDS_OF_SSH, first.remedy)
    if not first.login or len(logins) == 1 or match is None:
        return f"{first.remedy}; the others likewise"
    # ssh alone would ask for a shell on each; and none may read what is meant for the loop.
    words = match[1] or (" true" if first.command.startswith("ssh ") else "")
    command = first.command.removesuffix(first.login) + '"$host"'
    loop = f"for host in {' '.join(logins)}; do {command}{words}; done"
    return first.remedy[: match.start()] + loop + first.remedy[match.end() :]


def _shape(text: str, word: str, blank: str = _BLANK, *, every: bool = False) -> str:
    """Return `text` with a blank for the `word` where it stands by itself: the first time, or every."""
    if not word:
        return text
    pattern = rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\w)"
    return re.sub(pattern, blank, text, count=0 if every else 1)


def _places(places: Sequence[str]) -> str:
    if len(places) == 1:
        return places[0]
    if all(map(_FOLDABLE.fullmatch, places)):
        return fold(places)
    return f"{places[0]} and {len(places) - 1} more"


def login_of(command: str) -> str:
    """Return the last word of a line that ssh is called with, as it stands in it."""
    return shlex.quote(shlex.split(command)[-1]) if command.isprintable() else ""
