"""An inventory file, read from disk."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.problems import Problems, printable
from orchestrator.inventory.read import parse

# Ten thousand hosts with a dozen lines each. Larger is some other file, and would take minutes.
_MOST_BYTES = 2_000_000


def load(path: Path) -> Inventory:
    """Return the inventory in the file `path` (YAML, UTF-8; a pipe serves too).

    Raises InventoryError when it cannot be read, or with all that is wrong in it.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise InventoryError(
            f"{shown}: there is no such inventory",
            remedy="`orch init HOST...` makes one, as does a copy of inventory.example.yaml",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InventoryError(f"{shown}: the inventory cannot be read: {reason}") from None
    if len(content) > _MOST_BYTES:
        raise InventoryError(f"{shown}: over {_MOST_BYTES:,} bytes; this is no inventory")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].split(b"\n")
        problems = Problems(path)
        column = len(before[-1].decode()) + 1
        problems.add(len(before), column, "", "expected text in UTF-8; this is something else")
        raise problems.error() from None
    return parse(text, path)
