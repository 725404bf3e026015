"""Names of runs: what runs, and five letters that tell it from the next."""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath

from orchestrator.errors import UsageError

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # a folder's, also on the nodes
_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 24  # characters of a script's name that are worth a column
_NAMELESS = "run"


def new_name(given: str | None = None, script: str = "", *, module: bool = False) -> str:
    """Return a name for a new run: `train-lusab` for the script `src/train.py`, or the module
    `pkg.train`; `baseline-lusab` for a `given` `baseline`.

    The syllables are a proquint (Wilkerson 2009): 16 random bits. They tell two runs apart that a
    person has in view; whether any folder has the name already is for the caller to see. Raises
    UsageError when `given` cannot be a file's name.
    """
    if given is None:
        return f"{_name_of(script, module=module)}-{_proquint()}"
    if not _GIVEN.match(given):
        raise UsageError(
            f"{given!r} cannot name a run", remedy="letters, digits, '.', '_' and '-', at most 64"
        )
    return f"{given}-{_proquint()}"


def matching(name: str, names: list[str]) -> list[str]:
    """Return those of `names` that `name` may mean: itself, else those that begin with it, else those
    whose last part does: `lusab` for `train-lusab`.
    """
    if name in names:
        return [name]
    found = [each for each in names if each.startswith(name)]
    return found or [each for each in names if each.rpartition("-")[2].startswith(name)]


def checked_name(name: str) -> str:
    """Return the name of a run that a record has. Raises ValueError for what `new_name` never makes."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r:.100} is not the name of a run")
    return name


def _name_of(script: str, *, module: bool) -> str:
    """Return what a script, or a module, is called, as far as a folder can be called so."""
    if module:
        parts = [part for part in script.split(".") if part != "__main__"]
    else:
        path = PurePosixPath(script)
        parts = [path.parent.name, *([] if path.stem == "__main__" else [path.stem])]
    said = _UNFIT.sub("-", parts[-1] if parts else "").strip("-._")
    return said[:_LONGEST].strip("-._") or _NAMELESS


def _proquint() -> str:
    bits = secrets.randbits(16)
    return "".join(
        (
            _CONSONANTS[bits >> 12],
            _VOWELS[bits >> 10 & 3],
            _CONSONANTS[bits >> 6 & 15],
            _VOWELS[bits >> 4 & 3],
            _CONSONANTS[bits & 15],
        )
    )
