"""The README says what the command line is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from orchestrator.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_options_are_those_of_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check", "docs/reference/commands.md"],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_option_has_a_help_text() -> None:
    root = get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"orch {name}: {parameter.name}"


def test_every_file_that_it_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)|`(scripts/[a-z]+)", README):
        name = path[0] or path[1]
        assert (ROOT / name).exists(), name


def test_the_exit_codes_are_those_of_the_errors() -> None:
    from orchestrator.errors import LaunchError, UsageError

    assert f"| {UsageError.exit_code} | the command line or the inventory" in README
    assert f"| {LaunchError.exit_code} | orch could not start the job" in README
