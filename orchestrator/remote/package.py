"""Pack the node side into one zipapp, named by its hash."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

_FOLDER = "orchestrator/node"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same sources give the same bytes and name


@dataclass(frozen=True)
class Package:
    """The bytes of the zipapp, and the name derived from them."""

    name: str
    data: bytes


@functools.cache
def node_package() -> Package:
    """Return the node side of this installation, as a zipapp for `python -IS FILE VERB`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("orchestrator/__init__.py", _EPOCH), b"")
        for inside, source in sorted(_sources(resources.files("orchestrator.node"), _FOLDER)):
            entry = "__main__.py" if inside == f"{_FOLDER}/__main__.py" else inside
            archive.writestr(zipfile.ZipInfo(entry, _EPOCH), source)
    data = buffer.getvalue()
    return Package(f"node-{hashlib.sha256(data).hexdigest()[:16]}.pyz", data)


def _sources(folder: Traversable, inside: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path in the zipapp and the bytes of every module in `folder`."""
    for entry in folder.iterdir():
        place = f"{inside}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, place)
        elif entry.name.endswith(".py"):
            yield place, entry.read_bytes()
