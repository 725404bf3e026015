"""The command line: its reference page, and its manual pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from orchestrator.cli.app import app
from orchestrator.version import __version__

WIDTH = 100
_SECTION = re.compile(r"^(\S.*):$")
_ENTRY = re.compile(r"^  (\S.*?)(?:  +(.*))?$")


def listings() -> Iterator[tuple[str, str, str]]:
    """Yield the name, the summary and the help of orch and of each command that is not hidden."""
    root = get_command(app)
    yield "orch", root.get_short_help_str(200), _help(root, "orch")
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        if not command.hidden:
            yield f"orch {name}", command.get_short_help_str(200), _help(command, f"orch {name}")


def _help(command: Any, name: str) -> str:
    context = command.context_class(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return str(command.get_help(context))


def reference() -> Iterator[str]:
    """Yield the help of every command, as printed."""
    for name, _, text in listings():
        yield f"## `{name}`\n\n```text\n{text}\n```\n"


def manuals() -> dict[str, str]:
    """Return every manual page, by its file name."""
    names = [name for name, _, _ in listings()]
    return {
        f"{name.replace(' ', '-')}.1": _manual(name, summary, text, names)
        for name, summary, text in listings()
    }


def _manual(name: str, summary: str, text: str, names: list[str]) -> str:
    title = name.replace(" ", "-")
    usage, _, rest = text.partition("\n\n")
    lines = [
        f'.TH "{title.upper()}" "1" "" "orch {__version__}" "orch manual"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        _roff(" ".join(usage.removeprefix("Usage: ").split())),
        ".SH DESCRIPTION",
        *_body(rest),
        ".SH SEE ALSO",
        ", ".join(
            f"\\fB{_roff(other.replace(' ', '-'))}\\fR(1)" for other in names if other != name
        ),
    ]
    return "\n".join(lines) + "\n"


def _body(text: str) -> Iterator[str]:
    """Yield roff for help text: sections with their entries, and paragraphs; examples stay as typed."""
    in_entries = in_example = False
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section:
            yield f".SH {_roff(section[1].upper())}"
            in_entries, in_example = True, False
        elif re.match(r"  \w[\w ]*:$", line) and not in_entries:
            yield from (".SS " + _roff(line.strip().rstrip(":")), ".nf")
            in_example = True
        elif in_entries and (entry := _ENTRY.match(line)):
            yield from (".TP", f"\\fB{_roff(entry[1])}\\fR")
            if entry[2]:
                yield _roff(entry[2])
        elif not line.strip():
            if in_example:
                yield ".fi"
                in_example = False
            yield ".PP"
        else:
            yield _roff(line.strip())
    if in_example:
        yield ".fi"


def _roff(text: str) -> str:
    """Return text that roff takes as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
