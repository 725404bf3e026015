"""The script, read without running it: what is known to fail before it starts."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
