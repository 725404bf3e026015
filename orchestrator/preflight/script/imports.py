"""What a script imports whatever happens, beside its own files: what every node must have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from orchestrator.preflight.scene import Script
from orchestrator.preflight.script.flow import LONGEST, Certainty, Code, read

_MOST_FILES = 20  # of the script's own, that are read as well
_MOST_NAMES = 200
_FINDS_MODULES_ITSELF = {"sys.path", "sys.meta_path", "sys.path_hooks", "sys.modules"}
_INSTALLS = re.compile(r"\bpip\b\W{1,10}install\b")


@dataclass(frozen=True)
class Import:
    """The first place (`train.py:3`) where a top-level module is imported."""

    module: str
    where: str


@dataclass(frozen=True)
class Needs:
    """What a script imports. `settled` is False where it changes by itself what can be imported."""

    imports: tuple[Import, ...] = ()
    settled: bool = True


_known: WeakKeyDictionary[Script, Needs] = WeakKeyDictionary()


def needs(script: Script) -> Needs:
    """Return what `script` and the modules of its own that it imports need for certain.

    Read once for each script, though it is asked for on behalf of every node. Nothing for a script
    that cannot be read.
    """
    if script not in _known:
        _known[script] = _find(script)
    return _known[script]


def _find(script: Script) -> Needs:
    main = read(script.text)
    if not isinstance(main, Code):
        return Needs()
    own = _OwnFiles(script)
    settled = _is_settled(main, script.text)
    places: dict[str, str] = {}
    files: dict[Path, None] = {}
    for dotted, line in _imports(main):
        top = dotted.partition(".")[0]
        if own.has(top):
            files.update(dict.fromkeys(own.files(dotted)))
        else:
            places.setdefault(top, f"{script.path}:{line}")
    for path in list(files)[:_MOST_FILES]:
        text = _text(path)
        code = read(text, main=False)
        if isinstance(code, Code):
            settled = settled and _is_settled(code, text)
            for dotted, line in _imports(code):
                top = dotted.partition(".")[0]
                if not own.has(top):
                    places.setdefault(top, f"{path}:{line}")
    found = tuple(Import(module, where) for module, where in places.items())
    return Needs(found[:_MOST_NAMES], settled)


def _imports(code: Code) -> Iterator[tuple[str, int]]:
    """Yield (dotted name, line) of every import that is sure to be made."""
    for node, how in code.nodes():
        if how is not Certainty.SURE:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            # `from package import module` may be one more file of the script's own
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _is_settled(code: Code, text: str) -> bool:
    named = (code.name_of(node) for node in code.certainty if isinstance(node, ast.Attribute))
    return not _INSTALLS.search(text) and not any(
        name in _FINDS_MODULES_ITSELF or name == "site.addsitedir" for name in named
    )


class _OwnFiles:
    """The modules beside a script, and those in the folder that goes to the nodes with it."""

    def __init__(self, script: Script) -> None:
        folders = [script.path.parent]
        if script.folder is not None:
            folders += [script.folder, script.folder / "src"]
        self._folders = list(dict.fromkeys(folders))

    def has(self, name: str) -> bool:
        return any(_is_module(folder, name) for folder in self._folders)

    def files(self, dotted: str) -> Iterator[Path]:
        """Yield the files that importing `dotted` runs, from the first folder that has it."""
        top, *rest = dotted.split(".")
        folder = next(folder for folder in self._folders if _is_module(folder, top))
        place = folder / top
        for part in ["", *rest]:
            place = place / part
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file():
                    yield path


def _is_module(folder: Path, name: str) -> bool:
    place = folder / name
    if (folder / f"{name}.py").is_file() or (place / "__init__.py").is_file():
        return True
    # A folder of data is none: `wandb/` beside the script is not the package of this name.
    return any(place.glob("*.py")) or any(folder.glob(f"{name}.*.so"))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST + 1)
    except OSError:
        return ""  # it went away, or is not for us to read: nothing is said against it
