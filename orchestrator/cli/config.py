"""`orch config`: the defaults here, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any

import typer

from orchestrator.cli import complete, options
from orchestrator.cli.launch_options import LaunchOptions


def config(
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Apply this profile.  [default: $ORCH_PROFILE]",
            autocompletion=complete.profiles,
        ),
    ] = None,
    path: Annotated[
        bool, typer.Option("--path", help="Print the path of the file, and nothing else.")
    ] = False,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: a table; json: one object.")
    ] = "text",
) -> None:
    """Show the defaults of options here, and where each comes from.

    \b
    Examples:
      orch config
      orch config --profile a100
      orch config --output json | jq '.settings[] | select(.source == "file")'
      $EDITOR "$(orch config --path)"

    They stand in orch.toml, or under [tool.orch] in pyproject.toml, in the current folder or the nearest
    one above. ORCH_CONFIG names another file, or /dev/null for none. ORCH_INVENTORY overrides the file's
    inventory, and the command line all of it.

    Exits with 0, 2 if the file is wrong; with --path 1 if there is none.
    """
    import sys

    from orchestrator.api.config import config as use_case
    from orchestrator.api.config import config_path
    from orchestrator.ui.config import show, show_path

    if path:
        sys.exit(show_path(config_path()))
    show(use_case(profile, dict(_built_in())), output)


def _built_in() -> Iterator[tuple[str, Any]]:
    """Yield the default of each option by its name on the command line, as `orch launch` declares it."""
    for group in (options.Hosts, options.Job, LaunchOptions):
        for each in fields(group):
            yield each.name.replace("_", "-"), each.default
