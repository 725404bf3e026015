"""Read the files of an Ansible inventory without Ansible: one file, or all of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.readers.ansible.ini import looks_like_ini, read_ini
from orchestrator.inventory.readers.ansible.tree import Listing, Tree
from orchestrator.inventory.readers.ansible.yaml_files import (
    VariableFiles,
    configures_plugin,
    looks_like_yaml,
    read_yaml,
)
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.yaml_nodes import NotYaml

_YAML = (".yml", ".yaml", ".json")
# What Ansible passes over in a folder.
_IGNORED = re.compile(
    r"\..*|(host|group)_vars|vars_plugins|.*(~|\.(pyc|pyo|swp|bak|rpm|md|txt|rst|orig|cfg|retry))"
)
MAX_FILES = 256
_MAX_DEPTH = 8
_DYNAMIC = "only ansible-inventory can list the hosts of"


def is_static(source: Source) -> bool:
    """Tell whether a file is an inventory of Ansible's that lists its hosts."""
    return looks_like_ini(source.head) or looks_like_yaml(source.head)


def is_script(path: Path, head: bytes) -> bool:
    """Tell whether Ansible would run the file, and the system can."""
    return head.startswith((b"#!", b"\x7fELF")) and os.access(path, os.X_OK)


def is_dynamic(path: Path, head: bytes) -> bool:
    """Tell whether a program, or a plug-in of Ansible's that the file configures, lists the hosts."""
    return is_script(path, head) or configures_plugin(head)


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of an inventory, in Ansible's order: the file itself, or those in a folder."""
    yield from _files_in(path, _MAX_DEPTH) if path.is_dir() else [path]


def _files_in(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if _IGNORED.fullmatch(path.name):
            continue
        if path.is_dir() and depth:
            yield from _files_in(path, depth - 1)
        elif path.is_file():
            yield path


def read_files(source: Source) -> Listing:
    """Return what the file or folder `source` comes to, with the files of variables beside it.

    Raises InventoryError with everything that is wrong in a file, and for one that lists hosts only to
    Ansible.
    """
    tree = Tree()
    path = source.path
    if path is not None and path.is_dir():
        for number, file in enumerate(files_of(path)):
            if number == MAX_FILES:
                raise InventoryError(f"{source}: over {MAX_FILES} files in this folder")
            _read(Source(str(file)), tree)
    else:
        _read(source, tree)
    folders = [Path.cwd()]
    if path is not None and (path.is_dir() or path.is_file()):
        own = Path(os.path.realpath(path if path.is_dir() else path.parent))
        folders = [own] if own == folders[0] else [own, *folders]
    try:
        return tree.listing(VariableFiles(folders).layers)
    except ValueError as error:
        raise InventoryError(f"{source}: {error}") from None


def _read(source: Source, tree: Tree) -> None:
    path = source.path or Path(source.given)
    if is_dynamic(path, source.head):
        raise InventoryError(
            f"{source}: {_DYNAMIC} this {'program' if is_script(path, source.head) else 'plug-in'}",
            remedy="pip install ansible-core",
        )
    problems = Problems(source.given)
    is_yaml = path.suffix in _YAML or looks_like_yaml(source.head)
    try:
        if is_yaml and not looks_like_ini(source.head):
            read_yaml(source.text, source.given, problems, tree)
        else:
            read_ini(source.text, source.given, problems, tree)
    except (NotYaml, TooMany):
        raise problems.error() from None
    if problems:
        raise problems.error()
