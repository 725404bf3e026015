"""Find the modules that a script surely imports, besides its own files: every node needs them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from weakref import WeakKeyDictionary

from orchestrator.preflight.model import Context, Script
from orchestrator.preflight.script.flow import MAX_CHARS, Certainty, Code, read

_MAX_FILES = 20  # the script and its own modules; each takes milliseconds
_MAX_NAMES = 200
_CHANGES_IMPORTS = {
    "exec", "site.addsitedir", "sys.meta_path", "sys.modules", "sys.path", "sys.path_hooks",
}  # fmt: skip
_INSTALLS = re.compile(r"\bpip[\d.]*\b.{1,40}?\binstall\b", re.DOTALL)
_SUFFIXES = (".py", ".pyc", ".pyx", ".so")


@dataclass(frozen=True)
class Needs:
    """What a script imports: {top-level module: where it is first imported, as `train.py:3`}.

    `settled` is False if the script itself changes what can be imported. `own` are the script's own
    modules, each with its file.
    """

    imports: Mapping[str, str] = field(default_factory=dict)
    settled: bool = True
    own: tuple[tuple[Path, Code], ...] = ()


_known: WeakKeyDictionary[Script, Needs] = WeakKeyDictionary()


def needs(script: Script) -> Needs:
    """Return what `script`, and the modules of its own that it imports, surely need.

    The result is cached for each script. A script that cannot be parsed needs nothing.
    """
    if script not in _known:
        _known[script] = _find(script)
    return _known[script]


def is_plain(context: Context) -> bool:
    """Return whether launcher and script need only the standard library, and do not mention torch."""
    if context.script is None or context.launcher.needs:
        return False
    imports = needs(context.script).imports
    standard = imports.keys() <= sys.stdlib_module_names
    return bool(imports) and standard and "torch" not in context.script.text


def _find(script: Script) -> Needs:
    own = _OwnModules(script)
    settled = True
    modules: list[tuple[Path, Code]] = []
    places: dict[str, str] = {}
    packages = {script.path: ""}  # of the files to read, the script first
    queue = [script.path]
    for path in queue:
        is_main = path == script.path
        text = script.text if is_main else _text(path)
        code = read(text, main=is_main)
        if not isinstance(code, Code):
            continue
        if not is_main:
            modules.append((path, code))
        settled = settled and _is_settled(code, text)
        for dotted, line in _imports(code, packages[path]):
            top = dotted.partition(".")[0]
            if own.folder(top) is None:
                places.setdefault(top, f"{path}:{line}")
            for file, package in own.files(dotted):
                if file not in packages and len(packages) < _MAX_FILES:
                    packages[file] = package
                    queue.append(file)
    return Needs(dict(islice(places.items(), _MAX_NAMES)), settled, tuple(modules))


def _imports(code: Code, package: str) -> Iterator[tuple[str, int]]:
    """Yield (dotted name, line) of every import that a module of `package` surely makes."""
    for node, how in code.nodes():
        if how is not Certainty.SURE:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            if module and (package or not node.level):
                yield module, node.lineno
                # in `from package import module`, the module may be another of the script's own files
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def _is_settled(code: Code, text: str) -> bool:
    names = (code.name_of(n) for n in code.certainty if isinstance(n, ast.Attribute | ast.Name))
    return not _INSTALLS.search(text) and _CHANGES_IMPORTS.isdisjoint(names)


class _OwnModules:
    """The modules next to a script, and those in the project folder that is synced to the nodes."""

    def __init__(self, script: Script) -> None:
        folders = [script.path.parent]
        if script.folder is not None:
            folders += [script.folder, script.folder / "src"]
        self._folders = list(dict.fromkeys(folders))
        self._folder_of: dict[str, Path | None] = {}

    def folder(self, name: str) -> Path | None:
        """Return the first folder that has the top-level module `name`; None if none has."""
        if name not in self._folder_of:
            self._folder_of[name] = next((f for f in self._folders if _is_module(f, name)), None)
        return self._folder_of[name]

    def files(self, dotted: str) -> Iterator[tuple[Path, str]]:
        """Yield the files that importing `dotted` runs, and the packages that they belong to."""
        parts = dotted.split(".")
        folder = self.folder(parts[0])
        if folder is None:
            return
        for end in range(1, len(parts) + 1):
            place = folder.joinpath(*parts[:end])
            for path, package in (
                (place.with_suffix(".py"), parts[: end - 1]),
                (place / "__init__.py", parts[:end]),
            ):
                if path.is_file():
                    yield path, ".".join(package)


def _is_module(folder: Path, name: str) -> bool:
    if any((folder / f"{name}{suffix}").is_file() for suffix in _SUFFIXES):
        return True
    # A folder of data is not a module: `wandb/` next to the script is not the package wandb. A package
    # without an __init__.py may have all its modules in subpackages.
    patterns = (f"{name}.*.so", f"{name}/*.py", f"{name}/*/*.py")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(MAX_CHARS + 1)
    except OSError:
        return ""  # deleted, or not readable for this user: nothing is reported about it
