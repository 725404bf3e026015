"""The command line: thin. Parse, call one use case, turn an error into text and an exit code."""

from __future__ import annotations


def main() -> None:
    """Run the `orch` command."""
    from orchestrator.streams import open_all

    open_all()
    from orchestrator.cli.app import run

    run()
