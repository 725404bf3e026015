"""InfiniBand, RoCE and EFA, as the kernel shows them."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
