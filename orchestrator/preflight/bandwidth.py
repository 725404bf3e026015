"""Bandwidth between nodes, pair by pair, and which node is slow."""

from __future__ import annotations

from orchestrator.preflight.model import Check

CHECKS: tuple[Check, ...] = ()
