"""Fake installed packages: modules, and metadata with entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, name: str, group: str, entries: Mapping[str, str], **modules: str
) -> None:
    """Put the package `name` into `folder`, with modules and entry points (name -> `module:object`)."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, code in modules.items():
        folder.joinpath(f"{module}.py").write_text(code)
