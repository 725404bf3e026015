"""Values of options that Typer does not know."""

from __future__ import annotations

from typing import Literal

from orchestrator.errors import UsageError


def number_or_auto(option: str, text: str | None, largest: int) -> int | Literal["auto"] | None:
    """Return the number, from 1 to `largest`, that `text` is, or "auto". Raises UsageError."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and 1 <= int(text) <= largest:
        return int(text)
    raise UsageError(f"{option} {text}: a number from 1 to {largest}, or auto")
