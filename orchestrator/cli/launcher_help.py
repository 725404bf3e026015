"""The help of a command that has --launcher: it lists the launchers, which are looked for only then."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.log_options import Command
from orchestrator.cli.options import LAUNCHERS


class LauncherCommand(Command):
    """A command with --launcher."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for parameter in self.params:
            if getattr(parameter, "help", None) == LAUNCHERS:
                parameter.help = _launchers()  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _launchers() -> str:
    from orchestrator.plan.launchers import registry

    listed = "; ".join(f"{each.name} ({each.help})" for each in registry.all_launchers())
    return f"{listed}.  [default: the inventory's, else {registry.DEFAULT}]"
