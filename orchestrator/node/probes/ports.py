"""How many ports, and waiting connections, the kernel gives."""

from __future__ import annotations

from . import read


def somaxconn(root: str = "/") -> int:
    """Return how many connections may wait for one listener to take them."""
    text = read.text(root, "/proc/sys/net/core/somaxconn")
    if text is None:
        raise ValueError("net.core.somaxconn cannot be read")
    return int(text)
