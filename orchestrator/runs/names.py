"""Names of runs: short, pronounceable, and never the same twice."""

from __future__ import annotations

import re
import secrets

from orchestrator.errors import UsageError

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def new_name(given: str | None = None) -> str:
    """Return a name for a new run, such as `lusab-babad`, or `baseline-lusab` for a given `baseline`.

    The syllables are proquints (Wilkerson 2009): 16 random bits each. They make the name differ from
    that of any other run, also one that another controller starts on the same nodes. Raises UsageError
    when `given` cannot be a file's name.
    """
    if given is None:
        return f"{_proquint()}-{_proquint()}"
    if not _GIVEN.match(given):
        raise UsageError(
            f"{given!r} cannot name a run", remedy="letters, digits, '.', '_' and '-', at most 64"
        )
    return f"{given}-{_proquint()}"


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
