"""The packages of orch's node side on this node: their compiled twins, and removing unused ones.

A supervisor lives on with the package that it was started from: the ranks that its launcher restarts go
through the shim in it. A home may be shared by nodes that do not see each other's processes, so a process
marks its package as in use by setting the file's time.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Set

from .probes import read

_NAME = re.compile(r"(node-[0-9a-f]{16})(\.[A-Za-z0-9_-]+)?\.pyz(\.[0-9a-f]+\.tmp)?\Z")
_MARK_INTERVAL = 3600.0  # seconds
_UNUSED_AFTER = 7 * 24 * 3600.0  # seconds


def write_compiled(package: str) -> None:
    """Write the compiled twin of the zipapp `package` unless it exists. Raises OSError.

    Compiling is most of the time of a start, and Python caches nothing that it imports from a zip file.
    So the upload leaves `node-HASH.<cache tag>.pyz` with the same modules compiled, and every start finds
    it (`__main__.py`).
    """
    path = "{}.{}.pyz".format(package[: -len(".pyz")], sys.implementation.cache_tag)
    if os.path.exists(path):
        return
    import importlib.util
    import marshal
    import struct
    import zipfile

    # The header of a .pyc that is never checked against its source (PEP 552): the name has the hash.
    header = importlib.util.MAGIC_NUMBER + struct.pack("<I8x", 1)
    # Nodes that share a home may do this at once, each in a process of the same number.
    temporary = "{}.{}.tmp".format(path, os.urandom(8).hex())
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in source.namelist():
            code = compile(source.read(name), name, "exec", dont_inherit=True)
            target.writestr(name + "c", header + marshal.dumps(code))
    os.replace(temporary, path)


def mark_as_used() -> None:
    """Mark the package that this process was started from as in use, once an hour."""
    try:
        if time.time() - os.stat(sys.argv[0]).st_mtime > _MARK_INTERVAL:
            os.utime(sys.argv[0])
    except OSError:
        pass  # it was removed, or the home cannot be written


def remove_unused() -> int:
    """Remove packages, compiled twins and half uploads unused for a week; return the bytes freed."""
    folder, own = os.path.split(os.path.abspath(sys.argv[0]))
    matches = [match for match in map(_NAME.match, os.listdir(folder)) if match is not None]
    used = _used() | {own[: -len(".pyz")]}
    # A twin may be older than its package, which is in use: one young file keeps all of its name.
    used.update(m.group(1) for m in matches if _is_young(os.path.join(folder, m.group())))
    unused = [os.path.join(folder, m.group()) for m in matches if m.group(1) not in used]
    return sum(map(_remove, unused))


def _is_young(path: str) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime < _UNUSED_AFTER
    except FileNotFoundError:
        return False


def _remove(path: str) -> int:
    try:
        size = os.lstat(path).st_blocks * 512
        os.unlink(path)
    except FileNotFoundError:
        return 0  # a node that shares the home has removed it
    return size


def _used() -> Set[str]:
    """Return the packages in the command lines of live processes."""
    found: Set[str] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = (read.text("/", "/proc/{}/cmdline".format(pid)) or "").split("\0")
        names = (_NAME.match(os.path.basename(word)) for word in words)
        found.update(match.group(1) for match in names if match is not None)
    return found
