"""Pack the node side into one zipapp, named by its hash."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from dataclasses import dataclass
from importlib import resources

_FOLDER = "orchestrator/node"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources give the same bytes, so the same name


@dataclass(frozen=True)
class Package:
    """The zipapp's bytes and the name that they give it."""

    name: str
    data: bytes


@functools.cache
def node_package() -> Package:
    """Return the node side of this very installation, as a zipapp for `python -IS FILE VERB`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("orchestrator/__init__.py", _EPOCH), b"")
        for source in sorted(resources.files("orchestrator.node").iterdir(), key=lambda s: s.name):
            if source.name.endswith(".py"):
                inside = source.name if source.name == "__main__.py" else f"{_FOLDER}/{source.name}"
                archive.writestr(zipfile.ZipInfo(inside, _EPOCH), source.read_bytes())
    data = buffer.getvalue()
    return Package(f"node-{hashlib.sha256(data).hexdigest()[:16]}.pyz", data)
