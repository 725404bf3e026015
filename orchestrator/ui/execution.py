"""Say how a command on the nodes ended."""

from __future__ import annotations

from orchestrator.api.execute import Execution
from orchestrator.inventory.ranges import fold
from orchestrator.remote.grouped_errors import grouped_lines
from orchestrator.ui.stderr import Stderr


def show_end(result: Execution) -> None:
    """Write to stderr where the command failed, and why orch ended it."""
    stderr = Stderr()
    if result.stop is not None:
        unfinished = fold(end.node for end in result.ends if end.exit_code is None)
        where = f"; ended the command on {unfinished}" if unfinished else ""
        stderr.line(f"{result.stop}{where}", "red")
    else:
        for row in grouped_lines(end.problem for end in result.ends if end.problem is not None):
            stderr.line(row, "red")
    failed: dict[int, list[str]] = {}
    for end in result.ends:
        if end.exit_code:
            failed.setdefault(end.exit_code, []).append(end.node)
    if failed:
        codes = "; ".join(f"{code} on {fold(failed[code])}" for code in sorted(failed))
        stderr.line(f"✗ exit code {codes}", "red")
