"""Reach a node: connect, run a script, stream bytes both ways."""

from orchestrator.remote import quick_import as quick_import
from orchestrator.remote.base import Channel, Completed, LinkLost, Node, ShellError

__all__ = ["Channel", "Completed", "LinkLost", "Node", "ShellError"]
