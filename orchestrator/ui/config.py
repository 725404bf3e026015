"""Show the defaults of options: a table or JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from orchestrator.api.config import Config, Value
from orchestrator.api.defaults.find import FILE, PROJECT_FILE, shown
from orchestrator.ui.stderr import Stderr
from orchestrator.ui.table import Cell, Column, stdout_size, table, write, write_json
from orchestrator.ui.terminal import wants_colour

_NO_FILE = f"there is no {FILE} here or above, nor a {PROJECT_FILE} with [tool.orch]"


def show(config: Config, output: Literal["text", "json"]) -> None:
    """Write the defaults to stdout."""
    if output == "json":
        write_json(asdict(config))
        return
    columns = [
        Column("OPTION", [(each.option, "") for each in config.settings]),
        Column("VALUE", [_value(each) for each in config.settings]),
        Column("FROM", [_source(config, each) for each in config.settings]),
    ]
    write(table(columns, stdout_size()[0], colour=wants_colour(1)))
    if config.path is None:
        Stderr().line(_NO_FILE)
    elif config.profiles:
        Stderr().line(f"{shown(config.path)} has the profiles {', '.join(config.profiles)}")


def show_path(path: Path | None) -> int:
    """Write the path of the file to stdout, and return an exit code: 1 without a file."""
    if path is None:
        Stderr().line(_NO_FILE)
        return 1
    write([str(path)])
    return 0


def _value(value: Value) -> Cell:
    return ("-", "2") if value.value is None else (value.value, "")


def _source(config: Config, value: Value) -> Cell:
    if value.variable is not None:
        return (f"${value.variable}", "")
    if config.path is None or value.line is None:
        return ("default", "2")
    profile = "" if value.profile is None else f" (profile {value.profile})"
    return (f"{shown(config.path)}:{value.line}{profile}", "")
