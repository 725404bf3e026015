"""What to do about findings: each remedy once, in lines that the login on its nodes can paste."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from orchestrator.preflight.judge import worst
from orchestrator.preflight.model import Check, Context, Finding, Remedy, Status
from orchestrator.preflight.report import Report

TO_MEND = (Status.WARN, Status.INCOMPLETE, Status.FAIL)
"""What a person may want to do something about."""

# Plain words, quoted or not: nothing for a shell to expand, redirect or join.
_PLAIN_WORDS = re.compile(r"""(?:[^|&;<>()$`*?\['"\\]|\\.|'[^']*'|"[^"$`\\]*")*""")


@dataclass(frozen=True)
class Location:
    """The `commands` to paste on `nodes`."""

    nodes: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Fix:
    """Findings that one remedy mends, each with its check; `text` is None where none is known.

    `nodes` are all that it is for; `places` are none where nothing is to be pasted.
    """

    found: tuple[tuple[Check, Finding], ...]
    text: str | None
    nodes: tuple[str, ...] = ()
    places: tuple[Location, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of the findings."""
        return worst([finding for _, finding in self.found])

    @property
    def ids(self) -> tuple[str, ...]:
        """The checks that it mends, each once."""
        return tuple(dict.fromkeys(check.id for check, _ in self.found))


def fixes_of(report: Report, *statuses: Status) -> list[Fix]:
    """Return what mends the findings of these statuses, in the order of the report.

    Findings whose remedies say the same are one, whatever their checks; lines that are the same are
    one place, with the nodes of them all.
    """
    alike: dict[str | int, list[tuple[Check, Finding]]] = {}
    for result in report.results:
        for finding in result.findings:
            if finding.status in statuses:
                key = id(finding) if finding.remedy is None else finding.remedy.text
                alike.setdefault(key, []).append((result.check, finding))
    return [_fix_of(report.context, tuple(found)) for found in alike.values()]


def with_sudo(command: str) -> str:
    """Return a line that does as root what `command` does when root runs it.

    A line that is more than plain words goes to a root's shell whole: `sudo a > b` writes b as oneself.
    """
    if _PLAIN_WORDS.fullmatch(command):
        return command if command.startswith("sudo ") else f"sudo {command}"
    return f"sudo sh -c {shlex.quote(command)}"


def concerned_by(finding: Finding, remedy: Remedy) -> tuple[str, ...]:
    """Return the nodes that a remedy is for; lines that are for none by name are for the finding's."""
    return remedy.nodes or (finding.nodes if remedy.commands else ())


def _fix_of(context: Context, found: tuple[tuple[Check, Finding], ...]) -> Fix:
    roots = {node.name for node in context.nodes if node.facts.uid == 0}
    text, nodes = None, dict[str, None]()
    places: dict[tuple[str, ...], dict[str, None]] = {}
    for _, finding in found:
        remedy = finding.remedy
        if remedy is None:
            continue
        text = remedy.text
        concerned = concerned_by(finding, remedy)
        nodes.update(dict.fromkeys(concerned))
        for node in concerned if remedy.commands else ():
            as_it_is = node in roots or not remedy.as_root
            as_other = tuple(map(with_sudo, remedy.commands))
            commands = remedy.commands if as_it_is else as_other
            places.setdefault(commands, {})[node] = None
    where = tuple(Location(tuple(names), commands) for commands, names in places.items())
    return Fix(found, text, tuple(nodes), where)
