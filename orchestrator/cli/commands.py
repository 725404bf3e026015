"""The commands as a group: their help, and an answer to a command that orch does not have."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.usage import Group
from orchestrator.util.quoting import line_to_paste

_RUNS = "orch runs"
_STOP = "orch stop"
_LAUNCH = "orch launch SCRIPT"
_FETCH_OR_PUSH = "orch fetch (from the nodes) or orch push (to them)"

# What other tools call it, if the names are not similar. A command that orch has wins.
ELSEWHERE = {
    "ps": _RUNS,
    "ls": _RUNS,
    "list": _RUNS,
    "jobs": _RUNS,
    "squeue": _RUNS,
    "rm": "orch runs --prune",
    "prune": "orch runs --prune",
    "kill": _STOP,
    "cancel": _STOP,
    "scancel": _STOP,
    "down": _STOP,
    "top": "orch status",
    "show": "orch status",
    "info": "orch status",
    "describe": "orch status",
    "tail": "orch logs -f",
    "log": "orch logs",
    "run": _LAUNCH,
    "start": _LAUNCH,
    "submit": _LAUNCH,
    "torchrun": _LAUNCH,
    "cp": _FETCH_OR_PUSH,
    "scp": _FETCH_OR_PUSH,
    "rsync": _FETCH_OR_PUSH,
    "sync": _FETCH_OR_PUSH,
    "get": "orch fetch",
    "pull": "orch fetch",
    "download": "orch fetch",
    "upload": "orch push",
    "hosts": "orch nodes",
    "check": "orch preflight",
    "doctor": "orch preflight",
    "version": "orch --version",
    "help": "orch --help",
}


class Commands(Group):
    """All commands; an unknown one is answered with the command that was likely meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            meant = self._likely_meant(args)
            if meant is not None:
                ctx.fail(f"No such command {args[0]!r}. Did you mean: {meant}?")
        return super().resolve_command(ctx, args)

    def _likely_meant(self, args: list[str]) -> str | None:
        """Return the command line that was likely meant; None if only similar letters can show that."""
        word, *rest = args
        if word == "help" and rest[:1] and rest[0] in self.commands:
            return f"orch {rest[0]} --help"
        if word.endswith((".py", ".sh")):
            return line_to_paste(["orch", "launch", *args])
        return ELSEWHERE.get(word.lower())
