"""Names: what each node takes its own name, and the others' names, to be."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
