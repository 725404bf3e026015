"""Reachability: the ports that a job will use, tried with orch's own listeners."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
