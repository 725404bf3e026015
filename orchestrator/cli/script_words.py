"""The words of the script on a command line, and options of orch that are misplaced among them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.command import Command
from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped

_BEFORE = "orchestrator.before"
_DRY_RUN = "--dry-run"
_COMMON = {"--help", "-h", "--verbose", "-v"}  # scripts have these too
_MAX_BYTES = 1 << 20  # of a script that is searched


class ScriptCommand(Command):
    """A command with options, SCRIPT and ARGS; keeps the words before SCRIPT as typed."""

    takes_every_default = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        left = super().parse_args(ctx, args)
        behind = len(ctx.params.get("arguments") or ())
        ctx.meta[_BEFORE] = tuple(words[: max(0, len(words) - behind - 1)])
        return left


def words_before_script(context: typer.Context) -> tuple[str, ...]:
    """Return the words before SCRIPT, as typed."""
    before: tuple[str, ...] = context.meta.get(_BEFORE, ())
    return before


def options_of(context: typer.Context) -> frozenset[str]:
    """Return the options of the command, in every spelling."""
    return frozenset(name for parameter in context.command.params for name in parameter.opts)


def misplaced_options(
    script: str, arguments: Sequence[str], before: Sequence[str], known: frozenset[str]
) -> str | None:
    """Return a sentence on options of orch, of those `known`, after SCRIPT; None without any.

    An option that the script's text contains is the script's, as is every word if `--` is before SCRIPT;
    those of another launcher's command are its own, and the command is refused. Raises UsageError for a
    --dry-run that would start the job.
    """
    from orchestrator.api.other_launchers import is_command

    if before[-1:] == ("--",) or ("--no-python" not in before and is_command(script)):
        return None
    options = [word.partition("=")[0] for word in takewhile(lambda w: w != "--", arguments)]
    text = _text(Path(script))
    found = dict.fromkeys(
        word for word in options if word in known - _COMMON and not _has(text, word)
    )
    name = escaped(shlex.quote(script))
    if _DRY_RUN in found:
        raise UsageError(
            f"{_DRY_RUN} is after {name}, so it would go to the script and the job would start",
            remedy=f"for orch, put it before: orch launch {_DRY_RUN} {name}; for the script: "
            f"orch launch -- {name} {_DRY_RUN}",
        )
    if not found:
        return None
    goes = "goes" if len(found) == 1 else "go"
    return (
        f"{', '.join(found)} after {name} {goes} to the script; options of orch come before SCRIPT"
    )


def _has(text: str, option: str) -> bool:
    """Tell whether a script's text contains `option`, also spelled as a variable."""
    if not option.startswith("--"):
        return f'"{option}"' in text or f"'{option}'" in text
    name = re.escape(option.removeprefix("--")).replace(r"\-", "[-_]")
    return re.search(rf"--{name}\b", text) is not None


def _text(script: Path) -> str:
    from orchestrator.api.script import is_readable_file

    if not is_readable_file(script):
        return ""  # a module, or a file on the nodes: its options are unknown
    try:
        return read_bounded(script, _MAX_BYTES).decode(errors="replace")
    except (FileNotFoundError, Unreadable):
        return ""  # too long, or gone
