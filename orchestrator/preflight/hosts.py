"""The hosts themselves: can they be reached over SSH, are they clean, and are they who they seem to be."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
