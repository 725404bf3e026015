"""Recorded shapes as texts, and as trees of files."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def text(name: str) -> str:
    """Return the recorded text at `name`, for example "nvidia-smi/h100x8-550.xml"."""
    return (_HERE / name).read_text()


def tree(root: Path, *names: str) -> str:
    """Make the files and links of sysfs/NAME.txt below `root`; return that as probes take it."""
    for name in names:
        for line in text(f"sysfs/{name}.txt").splitlines():
            if line.startswith("#"):
                continue
            if " -> " in line:
                path, _, target = line.partition(" -> ")
                place = root / path.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
            else:
                path, _, content = line.partition(" = ")
                place = root / path.strip().lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(content.replace("\\n", "\n") + "\n")
    return str(root)
