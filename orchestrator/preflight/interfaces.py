"""Interfaces: which one carries the job, at what speed and MTU."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
