"""The MTU of the path between nodes: large packets that vanish."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
