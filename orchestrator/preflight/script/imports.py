"""What a script imports whatever happens, beside its own files: what every node must have."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from orchestrator.preflight.model import Context, Script
from orchestrator.preflight.script.flow import LONGEST, Certainty, Code, read

_MOST_FILES = 20  # the script and its own modules; each takes milliseconds
_MOST_NAMES = 200
_FINDS_MODULES_ITSELF = {
    "exec", "site.addsitedir", "sys.meta_path", "sys.modules", "sys.path", "sys.path_hooks",
}  # fmt: skip
_INSTALLS = re.compile(r"\bpip[\d.]*\b.{1,40}?\binstall\b", re.DOTALL)
_SUFFIXES = (".py", ".pyc", ".pyx", ".so")


@dataclass(frozen=True)
class Import:
    """The first place (`train.py:3`) where a top-level module is imported."""

    module: str
    where: str


@dataclass(frozen=True)
class Needs:
    """What a script imports. `settled` is False where it changes by itself what can be imported.

    `own` are the modules of its own that it imports, each with its file.
    """

    imports: tuple[Import, ...] = ()
    settled: bool = True
    own: tuple[tuple[Path, Code], ...] = ()


_known: WeakKeyDictionary[Script, Needs] = WeakKeyDictionary()


def needs(script: Script) -> Needs:
    """Return what `script` and the modules of its own that it imports need for certain.

    Read once for each script, though it is asked for on behalf of every node. Nothing for a script
    that cannot be read.
    """
    if script not in _known:
        _known[script] = _find(script)
    return _known[script]


def is_plain(context: Context) -> bool:
    """Return whether neither launcher nor script knows of torch: the standard library is all it needs."""
    if context.script is None or context.launcher.needs:
        return False
    imports = needs(context.script).imports
    known = all(each.module in sys.stdlib_module_names for each in imports)
    return bool(imports) and known and "torch" not in context.script.text


def _find(script: Script) -> Needs:
    own = _OwnFiles(script)
    settled = True
    modules: list[tuple[Path, Code]] = []
    places: dict[str, str] = {}
    packages = {script.path: ""}  # of the files to read, the script first
    waiting = [script.path]
    for path in waiting:
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
            if own.place(top) is None:
                places.setdefault(top, f"{path}:{line}")
            for file, package in own.files(dotted):
                if file not in packages and len(packages) < _MOST_FILES:
                    packages[file] = package
                    waiting.append(file)
    found = tuple(Import(module, where) for module, where in places.items())
    return Needs(found[:_MOST_NAMES], settled, tuple(modules))


def _imports(code: Code, package: str) -> Iterator[tuple[str, int]]:
    """Yield (dotted name, line) of every import that is sure to be made by a module of `package`."""
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
                # `from package import module` may be one more file of the script's own
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def _is_settled(code: Code, text: str) -> bool:
    names = (code.name_of(n) for n in code.certainty if isinstance(n, ast.Attribute | ast.Name))
    return not _INSTALLS.search(text) and _FINDS_MODULES_ITSELF.isdisjoint(names)


class _OwnFiles:
    """The modules beside a script, and those in the folder that goes to the nodes with it."""

    def __init__(self, script: Script) -> None:
        folders = [script.path.parent]
        if script.folder is not None:
            folders += [script.folder, script.folder / "src"]
        self._folders = list(dict.fromkeys(folders))
        self._places: dict[str, Path | None] = {}

    def place(self, name: str) -> Path | None:
        """Return the first folder that has the top-level module `name`."""
        if name not in self._places:
            having = (folder for folder in self._folders if _is_module(folder, name))
            self._places[name] = next(having, None)
        return self._places[name]

    def files(self, dotted: str) -> Iterator[tuple[Path, str]]:
        """Yield the files that importing `dotted` runs, and the packages that they belong to."""
        parts = dotted.split(".")
        folder = self.place(parts[0])
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
    # A folder of data is none: `wandb/` beside the script is not the package of this name. A package
    # without an __init__.py may have all its modules in packages below it.
    patterns = (f"{name}.*.so", f"{name}/*.py", f"{name}/*/*.py")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(LONGEST + 1)
    except OSError:
        return ""  # it went away, or is not for us to read: nothing is said against it
