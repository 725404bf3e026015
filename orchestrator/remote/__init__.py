"""Reach nodes: connect, run scripts, stream bytes both ways."""

from orchestrator.remote.base import Channel, Completed, ConnectionLost, Node, ShellError, Transport

__all__ = ["Channel", "Completed", "ConnectionLost", "Node", "ShellError", "Transport"]
