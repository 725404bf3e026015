"""What every client of ssh keeps to, whichever program connects."""

from __future__ import annotations

# sshd starts to drop unauthenticated connections at 10 (MaxStartups 10:30:100).
MAX_PER_ENDPOINT = 8
RETRY_DELAYS = (0.1, 0.3, 0.9)  # seconds, randomised, when sshd has dropped one
DEFAULT_TIMEOUT = 10.0
"""Seconds to reach a node."""
