"""The loggers of orch, one for each area: `orch.ssh`, `orch.agent`, `orch.run` and so on.

They are silent until a program adds a handler to `orch` or to one of them. A record about a node has the
node's name in `record.node`. Libraries such as asyncssh log without it; `NODE` holds the name for the
current task.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

ROOT = "orch"
NODE: ContextVar[str] = ContextVar("orch_node", default="")

# Closing a subprocess's transport polls the process; if it has just ended, asyncio's watcher finds it gone
# and warns on stderr. Nothing uses the exit code of a process that was closed.
_REAPED_TWICE = ("Unknown child process pid", "child process pid %d exit status already read")

logging.getLogger(ROOT).addHandler(logging.NullHandler())
logging.getLogger("asyncio").addFilter(lambda record: not str(record.msg).startswith(_REAPED_TWICE))


def logger(room: str) -> logging.Logger:
    """Return the logger `orch.<room>`."""
    return logging.getLogger(f"{ROOT}.{room}")


def node_logger(room: str, node: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger `orch.<room>` for records about this node."""
    return logging.LoggerAdapter(logger(room), {"node": node})
