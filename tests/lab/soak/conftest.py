"""Show a line of each draw, as it is over; it comes with the report of whichever process made it."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Show them where pytest reports: under xdist, that is not where the draws are made."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Lines(config))


class _Lines:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the line of a draw that is over."""
        drawn = dict(report.user_properties).get("draw")
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.when == "call" and drawn is not None and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"{'FAIL' if report.failed else 'ok  '} {drawn}")
