"""What the text of a script shows without running it: which modules it imports, and where."""

from __future__ import annotations

import ast
import warnings

_MAX_CHARS = 1 << 20
"""A longer script is not parsed."""


def parse(text: str) -> ast.Module | None:
    """Return the parsed script; None if it is not Python, or too long or too deep to be parsed here."""
    if len(text) > _MAX_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the script's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def line_of_import(text: str, package: str) -> int | None:
    """Return the first line (from 1) on which a script imports a package or a module of it."""
    if package not in text or (tree := parse(text)) is None:
        return None
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        if any(name.partition(".")[0] == package for name in names):
            lines.append(node.lineno)
    return min(lines, default=None)
