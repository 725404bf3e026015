"""What the fixture `orch` is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Orch = Callable[..., subprocess.CompletedProcess[str]]
"""Runs one `orch` command of these words to its end; keywords are more environment."""
