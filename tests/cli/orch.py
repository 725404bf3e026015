"""Types of the fixtures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Orch = Callable[..., subprocess.CompletedProcess[str]]
"""Runs an `orch` command of these words to its end; keywords are more variables of its environment, and
`streams` what it has as descriptors 0, 1 and 2, `prelude` a script that runs first in its process.
"""
Complete = Callable[[str], list[str]]
"""Completes the last word of a command line."""
