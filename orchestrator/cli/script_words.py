"""Where on a command line the words of the script begin, and options of orch that stand among them."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli.launcher_help import LauncherCommand
from orchestrator.errors import UsageError
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped

if TYPE_CHECKING:
    from orchestrator.api.job import JobWords

_BEFORE = "orchestrator.before"
_DRY_RUN = "--dry-run"
_OF_ALL = {"--help", "-h", "--verbose", "-v"}  # scripts have these, too
_LONGEST = 1 << 20  # bytes of a script that are searched


class ScriptCommand(LauncherCommand):
    """A command of options, SCRIPT and ARGS, which keeps the words in front of SCRIPT as typed."""

    def parse_args(
        self, ctx: Any, args: list[str]
    ) -> list[str]:  # click's, or Typer's own copy of it
        words = list(args)
        left = super().parse_args(ctx, args)
        behind = len(ctx.params.get("arguments") or ())
        ctx.meta[_BEFORE] = tuple(words[: max(0, len(words) - behind - 1)])
        return left


def words_before_script(context: typer.Context) -> tuple[str, ...]:
    """Return the words in front of SCRIPT, as typed."""
    before: tuple[str, ...] = context.meta.get(_BEFORE, ())
    return before


def options_of(context: typer.Context) -> frozenset[str]:
    """Return the options that the command has, in every spelling."""
    return frozenset(name for parameter in context.command.params for name in parameter.opts)


def misplaced_options(words: JobWords, known: frozenset[str]) -> str | None:
    """Return a sentence on options of orch, of those `known`, that stand behind SCRIPT; None without any.

    An option that the script's text names is the script's, as is all of a line that has `--` before
    SCRIPT. Raises UsageError for a --dry-run that would start the job.
    """
    if words.script is None or words.before[-1:] == ("--",):
        return None
    given = [word.partition("=")[0] for word in takewhile(lambda w: w != "--", words.arguments)]
    text = _text(Path(words.script))
    found = dict.fromkeys(
        word for word in given if word in known - _OF_ALL and not _names(text, word)
    )
    script = escaped(shlex.quote(words.script))
    if _DRY_RUN in found:
        raise UsageError(
            f"{_DRY_RUN} stands behind {script}, so it would go to the script and the job would start",
            remedy=f"for orch, put it before: orch launch {_DRY_RUN} {script}; for the script: "
            f"orch launch -- {script} {_DRY_RUN}",
        )
    if not found:
        return None
    one = len(found) == 1
    return (
        f"{', '.join(found)} behind {script} {'goes' if one else 'go'} to the script; orch's own options "
        "stand before SCRIPT"
    )


def _names(text: str, option: str) -> bool:
    """Tell whether a script's text names `option`, also in the spelling of a variable."""
    if not option.startswith("--"):
        return f'"{option}"' in text or f"'{option}'" in text
    name = re.escape(option.removeprefix("--")).replace(r"\-", "[-_]")
    return re.search(rf"--{name}\b", text) is not None


def _text(script: Path) -> str:
    from orchestrator.api.script import can_be_seen  # it imports what a --help has no need of

    if not can_be_seen(script):
        return ""  # a module, or on the nodes alone: nothing is known of its options
    try:
        return read_bounded(script, _LONGEST).decode(errors="replace")
    except (FileNotFoundError, Unreadable):
        return ""  # too long, or gone
