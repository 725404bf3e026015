"""Bring the script's folder to a node: the real rsync, over the SSH connection that is open."""

from orchestrator.sync.transfer import Progress, Pushed, push, push_all
from orchestrator.sync.tree import Tree, collect

__all__ = ["Progress", "Pushed", "Tree", "collect", "push", "push_all"]
