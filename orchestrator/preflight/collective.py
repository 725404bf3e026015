"""A small real collective, through the launcher, environment and interface that the job will use."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
