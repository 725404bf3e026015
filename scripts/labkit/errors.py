"""What a lab refuses."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was requested; the reason in one line."""
