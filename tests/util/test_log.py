"""Loggers of orch, and what it hides of asyncio's."""

from __future__ import annotations

import logging

import pytest

import orchestrator.util.log as _log


def test_warning_about_a_process_that_was_closed_as_it_ended_is_hidden(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asyncio = logging.getLogger("asyncio")
    assert _log.ROOT == "orch"
    asyncio.warning("Unknown child process pid %d, will report returncode 255", 7)
    asyncio.warning("Task was destroyed but it is pending!")
    assert caplog.messages == ["Task was destroyed but it is pending!"]
