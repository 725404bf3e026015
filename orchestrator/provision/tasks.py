"""Fabric's tasks for one host: look at it, and run a step there."""

from __future__ import annotations

from fabric import Connection, task
from invoke.exceptions import CommandTimedOut

from orchestrator.provision.found import CPU_BUILDS, PROBE, Found
from orchestrator.provision.steps import Unable, Wanted
from orchestrator.util.quoting import command_line, line_to_paste
from orchestrator.util.text import printable

LOOK = 60  # seconds
INSTALL = 3600  # torch is large, and the line may be slow


@task  # type: ignore[untyped-decorator]
def look(node: Connection, python: str, wanted: Wanted) -> Found:
    """Return what the host is. Raises Unable where it does not tell."""
    index = "" if wanted.index else CPU_BUILDS
    return Found.parse(_run(node, ("sh", "-c", PROBE, "sh", python, wanted.base, index), LOOK))


@task  # type: ignore[untyped-decorator]
def step(node: Connection, argv: tuple[str, ...]) -> None:
    """Run one command. Raises Unable when it fails or takes too long."""
    _run(node, argv, INSTALL)


def _run(node: Connection, argv: tuple[str, ...], timeout: int) -> str:
    """Return what the command prints. Raises Unable when it fails or takes too long."""
    shown = argv[0] if argv[1:2] == ("-c",) else line_to_paste(argv)
    try:
        done = node.run(command_line(argv), hide=True, warn=True, in_stream=False, timeout=timeout)
    except CommandTimedOut:
        raise Unable(f"`{shown}` was not done after {timeout} s") from None
    if not done.ok:
        said = printable(_cause(done.stderr.strip() or done.stdout.strip() or "no message"))
        raise Unable(f"`{shown}` failed with exit code {done.exited}: {said}")
    return str(done.stdout)


def _cause(output: str) -> str:
    """Return the line that says why: the first that pip or apt calls an error, else the last."""
    lines = output.splitlines()
    return next((line for line in lines if line.startswith(("ERROR:", "E:"))), lines[-1])
