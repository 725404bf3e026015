"""Which nodes there are, as a person wrote it down: the model, the file, ranges and selection."""

from orchestrator.inventory.load import load
from orchestrator.inventory.model import Host, Inventory, Main
from orchestrator.inventory.read import parse
from orchestrator.inventory.select import select

__all__ = ["Host", "Inventory", "Main", "load", "parse", "select"]
