"""Bring the script's folder to a node: the real rsync, over the SSH connection that is open."""

from orchestrator.sync.tree import Tree, collect

__all__ = ["Tree", "collect"]
