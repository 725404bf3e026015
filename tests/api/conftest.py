"""A folder to launch from, and a home of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.homes import enter_project


@pytest.fixture
def empty_project(tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; runs and all else go to another home."""
    return enter_project(tmp_path, used_home, monkeypatch)
