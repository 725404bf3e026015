"""How to fix what was found: each remedy once, with lines that the login on its nodes can paste."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from orchestrator.preflight.judge import worst
from orchestrator.preflight.model import Check, Context, Finding, Remedy, Status
from orchestrator.preflight.report import Report
from orchestrator.util.groups import grouped

PROBLEMS = (Status.WARN, Status.INCOMPLETE, Status.FAIL)
"""The statuses that may need action."""

# Words, quoted or not, in which a shell has nothing to expand, redirect or join.
_PLAIN_WORDS = re.compile(r"""(?:[^|&;<>()$`*?\['"\\]|\\.|'[^']*'|"[^"$`\\]*")*""")


@dataclass(frozen=True)
class Commands:
    """The `lines` to paste on `nodes`."""

    nodes: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Fix:
    """Findings with one remedy, each with its check; `text` is the remedy, None if none is known.

    `nodes` are all that it is for; `commands` are empty if there is nothing to paste.
    """

    found: tuple[tuple[Check, Finding], ...]
    text: str | None
    nodes: tuple[str, ...] = ()
    commands: tuple[Commands, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of the findings."""
        return worst([finding for _, finding in self.found])

    @property
    def ids(self) -> tuple[str, ...]:
        """The checks of the findings, each once."""
        return tuple(dict.fromkeys(check.id for check, _ in self.found))


def fixes_of(report: Report, *statuses: Status) -> list[Fix]:
    """Return the fixes of the findings with these statuses, in the order of the report.

    Findings of any checks with the same text of a remedy share a fix; nodes with the same lines to paste
    share them.
    """
    by_remedy = grouped(
        (id(finding) if finding.remedy is None else finding.remedy.text, (check, finding))
        for check, finding in report.having(*statuses)
    )
    return [_fix_of(report.context, tuple(found)) for found in by_remedy.values()]


def with_sudo(command: str) -> str:
    """Return a line that does with sudo what `command` does if root runs it.

    A line that is more than plain words goes to a shell of root's: `sudo a > b` would write b as the user.
    """
    if _PLAIN_WORDS.fullmatch(command):
        return command if command.startswith("sudo ") else f"sudo {command}"
    return f"sudo sh -c {shlex.quote(command)}"


def _fix_of(context: Context, found: tuple[tuple[Check, Finding], ...]) -> Fix:
    roots = {node.name for node in context.nodes if node.facts.uid == 0}
    remedies = [
        (finding.remedy, node)
        for _, finding in found
        for node in finding.remedy_nodes
        if finding.remedy is not None
    ]
    by_lines = grouped(
        (_lines(remedy, root=node in roots), node) for remedy, node in remedies if remedy.commands
    )
    first = found[0][1].remedy
    return Fix(
        found,
        None if first is None else first.text,
        tuple(dict.fromkeys(node for _, node in remedies)),
        tuple(Commands(tuple(dict.fromkeys(own)), lines) for lines, own in by_lines.items()),
    )


def _lines(remedy: Remedy, *, root: bool) -> tuple[str, ...]:
    """Return the lines of a remedy for a node with a login of root or of another user."""
    if root or not remedy.as_root:
        return remedy.commands
    return tuple(map(with_sudo, remedy.commands))
