"""Software agreement: what must be alike on every node, and what must start there."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
