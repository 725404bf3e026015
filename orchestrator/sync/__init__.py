"""Copy files to and from nodes: rsync over the open SSH connection."""

from orchestrator.sync.left_out import LeftOut, why_left_out
from orchestrator.sync.relay import Progress
from orchestrator.sync.transfer import Pushed, push, push_all
from orchestrator.sync.tree import Entry, Tree, collect

__all__ = [
    "Entry",
    "LeftOut",
    "Progress",
    "Pushed",
    "Tree",
    "collect",
    "push",
    "push_all",
    "why_left_out",
]
