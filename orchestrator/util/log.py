"""The loggers of orch, one a room: `orch.ssh`, `orch.agent`, `orch.run` and so on.

They are silent until a program gives `orch`, or one of them, a handler. A record about one node has its
name in `record.node`, where that is known; `NODE` has it for code, such as asyncssh's, that only knows the
context it runs in.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

ROOT = "orch"
NODE: ContextVar[str] = ContextVar("orch_node", default="")

logging.getLogger(ROOT).addHandler(logging.NullHandler())


def logger(room: str) -> logging.Logger:
    """Return the logger `orch.<room>`."""
    return logging.getLogger(f"{ROOT}.{room}")


def node_logger(room: str, node: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of a room, for what concerns this node."""
    return logging.LoggerAdapter(logger(room), {"node": node})
