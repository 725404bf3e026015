"""The inventory of nodes: its model, the readers of its formats, host ranges and selection."""

from orchestrator.inventory.model import Group, Host, Inventory, Main, TransportChoice
from orchestrator.inventory.readers.registry import load
from orchestrator.inventory.select import select

__all__ = ["Group", "Host", "Inventory", "Main", "TransportChoice", "load", "select"]
