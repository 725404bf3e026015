"""Keep a compiled twin beside the zipapp: compiling is most of what a start would take.

Python writes no cache for what it imports from a zip file. So the upload leaves `node-HASH.<cache tag>.pyz`
with the same modules compiled, and every start finds it (`__main__.py`).
"""

from __future__ import annotations

import os
import sys


def twin_of(package: str) -> str:
    """Return where the compiled twin of a zipapp stands for this version of Python."""
    return "{}.{}.pyz".format(package[: -len(".pyz")], sys.implementation.cache_tag)


def leave_twin(package: str) -> None:
    """Write the compiled twin of the zipapp `package` unless it is there. Raises OSError."""
    path = twin_of(package)
    if os.path.exists(path):
        return
    import importlib.util
    import marshal
    import struct
    import zipfile

    # The header of a .pyc that is never checked against its source (PEP 552): the name has the hash.
    header = importlib.util.MAGIC_NUMBER + struct.pack("<I8x", 1)
    # Nodes that share a home may do this at once, and each have a process of this very number.
    temporary = "{}.{}.tmp".format(path, os.urandom(8).hex())
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in source.namelist():
            code = compile(source.read(name), name, "exec", dont_inherit=True)
            target.writestr(name + "c", header + marshal.dumps(code))
    os.replace(temporary, path)
