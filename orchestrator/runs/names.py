"""Names of runs: the name of the script and five random letters."""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath

from orchestrator.errors import UsageError

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # it names folders, also on the nodes
_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_INVALID = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_LENGTH = 24  # characters of a script's name
_DEFAULT = "run"


def new_name(given: str | None = None, script: str = "", *, module: bool = False) -> str:
    """Return a name for a new run: `train-lusab` for the script `src/train.py`, or the module
    `pkg.train`; `baseline-lusab` for a `given` `baseline`.

    The syllables are a proquint (Wilkerson 2009): 16 random bits. The caller must check that no run has the
    name. Raises UsageError if `given` cannot be the name of a file.
    """
    if given is None:
        return f"{_name_of(script, module=module)}-{_proquint()}"
    if not _GIVEN.match(given):
        raise UsageError(
            f"{given!r} cannot name a run", remedy="letters, digits, '.', '_' and '-', at most 64"
        )
    return f"{given}-{_proquint()}"


def matching(name: str, names: list[str]) -> list[str]:
    """Return the `names` that `name` may mean: an exact match, else those that start with it, else those
    whose last part starts with it: `lusab` for `train-lusab`.
    """
    if name in names:
        return [name]
    found = [each for each in names if each.startswith(name)]
    return found or [each for each in names if each.rpartition("-")[2].startswith(name)]


def checked_name(name: str) -> str:
    """Return the name of a run from a record. Raises ValueError for names that `new_name` never returns."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not the name of a run: {name!r:.100}")
    return name


def _name_of(script: str, *, module: bool) -> str:
    """Return the name of a script or module, reduced to characters that the name of a folder may have."""
    if module:
        parts = [part for part in script.split(".") if part != "__main__"]
    else:
        path = PurePosixPath(script)
        parts = [path.parent.name, *([] if path.stem == "__main__" else [path.stem])]
    name = _INVALID.sub("-", parts[-1] if parts else "").strip("-._")
    return name[:_MAX_LENGTH].strip("-._") or _DEFAULT


def _proquint() -> str:
    letters = (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS)
    return "".join(map(secrets.choice, letters))
