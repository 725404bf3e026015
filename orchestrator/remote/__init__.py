"""Reach a node: connect, run a script, stream bytes both ways."""

from orchestrator.remote.base import Channel, Completed, LinkLost, Node, ShellError, Transport

__all__ = ["Channel", "Completed", "LinkLost", "Node", "ShellError", "Transport"]
