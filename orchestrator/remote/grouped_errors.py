"""Report an error that many nodes share only once: `node[0-2]: no answer`.

Errors are the same if their texts differ only in the node's name or address. A command to paste becomes
one command line for all of the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import ConnectError, OrchError, Unreachable
from orchestrator.inventory.ranges import fold

_PLACE, _NAME = "\0", "\1"  # placeholders for a node's address and name; no message contains them
_FOLDABLE = re.compile(r"[A-Za-z0-9._-]+")
_REMOTE_COMMAND = r"( '[^']*')?"  # after the login in an ssh command line


@dataclass(frozen=True)
class VerdictGroup:
    """One verdict on some `nodes`; if there are several, `evidence` has a line for each."""

    nodes: tuple[str, ...]
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{fold(self.nodes)}: {self.message}", *(f"    {each}" for each in self.evidence)]
        return "\n".join([*lines, f"  → {self.remedy}"])


def group_verdicts(verdicts: Iterable[Unreachable]) -> list[VerdictGroup]:
    """Return the verdicts, with identical ones merged, in the order of their first nodes."""
    groups: dict[tuple[str, str, str], list[Unreachable]] = {}
    for verdict in verdicts:
        shape = (verdict.cause, _message_shape(verdict), _remedy_shape(verdict))
        groups.setdefault(shape, []).append(verdict)
    return [_group(group) for group in groups.values()]


def connect_error(failures: Sequence[Unreachable], total: int) -> ConnectError:
    """Return the error for these failures among `total` nodes."""
    return ConnectError(failures, total, [str(each) for each in group_verdicts(failures)])


def grouped_message(errors: Iterable[OrchError]) -> str:
    """Return the lines of `grouped_lines` as one text."""
    return "\n".join(grouped_lines(errors))


def grouped_lines(errors: Iterable[OrchError]) -> list[str]:
    """Return the errors as `node1: ...`, with identical ones merged as `node[1-3]: ...`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        shape = (_shape(error.text, error.node), _shape(error.remedy or "", error.node))
        groups.setdefault(shape, []).append(error.node)
    lines = []
    for (message, remedy), names in groups.items():
        nodes = fold(names) if names[0] else ""
        text = f"{nodes}: {message}" if nodes else message
        text += f"\n  → {remedy}" if remedy else ""
        lines.append(text.replace(_NAME, nodes))
    return lines


def _group(group: Sequence[Unreachable]) -> VerdictGroup:
    first, nodes = group[0], tuple(verdict.node for verdict in group)
    if len(group) == 1:
        return VerdictGroup(nodes, first.message, first.remedy)
    places = _places(list(dict.fromkeys(verdict.place for verdict in group)))
    message = _message_shape(first).replace(_PLACE, places).replace(_NAME, fold(nodes))
    width = max(map(len, nodes))
    evidence = [f"{each.node:<{width}}  {each.evidence}" for each in group if each.evidence]
    return VerdictGroup(nodes, message, _group_remedy(group), tuple(evidence))


def _message_shape(verdict: Unreachable) -> str:
    """Return the message without evidence, and with placeholders for address and name."""
    message = verdict.message
    if verdict.evidence:
        message = message.replace(f" ({verdict.evidence})", "")
    return _shape(_shape(message, verdict.place, _PLACE, count=1), verdict.node)


def _remedy_shape(verdict: Unreachable) -> str:
    """Return the remedy with placeholders for the login or address, and the name."""
    remedy = verdict.remedy
    if verdict.login:
        remedy = remedy.replace(verdict.login, _PLACE, 1)
    else:
        remedy = _shape(remedy, verdict.place, _PLACE, count=1)
    return _shape(remedy, verdict.node)


def _group_remedy(group: Sequence[Unreachable]) -> str:
    """Return the remedy for the whole group; a command for one node becomes a loop over all."""
    first = group[0]
    shape = _remedy_shape(first)
    if _PLACE not in shape:
        return shape.replace(_NAME, fold(verdict.node for verdict in group))
    logins = list(dict.fromkeys(verdict.login for verdict in group))
    match = re.search(re.escape(first.command) + _REMOTE_COMMAND, first.remedy)
    if not first.login or len(logins) == 1 or match is None:
        return f"{first.remedy}; the others in the same way"
    # `ssh HOST` alone would start a shell on each, which would read the loop's input.
    remote = match[1] or (" true" if first.command.startswith("ssh ") else "")
    command = first.command.removesuffix(first.login) + '"$host"'
    loop = f"for host in {' '.join(logins)}; do {command}{remote}; done"
    return first.remedy[: match.start()] + loop + first.remedy[match.end() :]


def _shape(text: str, word: str, placeholder: str = _NAME, count: int = 0) -> str:
    """Replace the whole word `word` in `text` by a placeholder, at most `count` times (0: no limit)."""
    if not word:
        return text
    pattern = rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\w)"
    return re.sub(pattern, placeholder, text, count=count)


def _places(places: Sequence[str]) -> str:
    if len(places) == 1:
        return places[0]
    if all(map(_FOLDABLE.fullmatch, places)):
        return fold(places)
    return f"{places[0]} and {len(places) - 1} more"
