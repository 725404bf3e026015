"""Bring the script's folder to a node: the real rsync, over the SSH connection that is open."""

from orchestrator.sync.converse import Progress
from orchestrator.sync.left_out import LeftOut, why_left_out
from orchestrator.sync.transfer import Pushed, push, push_all, push_each
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
    "push_each",
    "why_left_out",
]
