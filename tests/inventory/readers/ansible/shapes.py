"""Inventories in the shape of those that people have, below `shapes/`, with what orch must make of them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory import Inventory

FOLDER = Path(__file__).parent / "shapes"
SHAPES = sorted(path.name for path in FOLDER.iterdir())
_SHOWN = ("user", "port", "proxy_jump", "identity_file", "known_hosts", "internal_address")
_OWN = ("python", "workdir", "devices", "launcher", "spare")


def inventory_of(shape: str) -> Path:
    """Return the path of the inventory of a shape: its only file, or its folder `inventory`."""
    files = [path for path in (FOLDER / shape).iterdir() if not path.name.endswith("_vars")]
    (found,) = (path for path in files if path.name != "expected.txt")
    return found


def described(inventory: Inventory, notes: list[str]) -> str:
    """Return an inventory as text: a line for each host, refused one, group and note."""
    lines = []
    for host in (*inventory.hosts, *inventory.spares):
        given = host.model_dump(exclude_defaults=True)
        words = [f"{key}={given[key]}" for key in (*_SHOWN, *_OWN) if key in given]
        words += [f"{key}={value}" for key, value in sorted(host.env.items())]
        lines.append(" ".join([host.name, host.address, *words]))
    lines += [f"refused {each.reason}" for each in inventory.refused]
    lines += sorted(f"@{group.name} {' '.join(group.hosts)}" for group in inventory.groups)
    lines += [f"note {note}" for note in notes]
    return "\n".join(lines).replace(f"{FOLDER}/", "") + "\n"
