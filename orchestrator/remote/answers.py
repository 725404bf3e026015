"""Take apart what a node answers, which may be anything, into values of the types that are expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from orchestrator.errors import NodeError
from orchestrator.util.text import printable

T = TypeVar("T")

_SENSELESS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_LARGEST = (1 << 63) - 1
_END_OF_TIME = 1e11  # seconds since the epoch: no clock of a machine that trains says so
_MOST_PIDS = 100_000
_LONGEST = 200


def parse_answer(node: str, verb: str, parse: Callable[[Any], T], answer: Any) -> T:
    """Return what `parse` makes of the answer of `node` to `verb`.

    Raises NodeError when it makes nothing of it.
    """
    try:
        return parse(answer)
    except _SENSELESS as error:
        said = printable(f"{type(error).__name__}: {error}", _LONGEST)
        raise NodeError(
            node,
            f"invalid answer to {verb!r} ({said})",
            remedy=f"try again; if it stays so, see what answers there: orch nodes --nodes {node}",
        ) from None


def count(value: Any, most: int = _LARGEST) -> int:
    """Return an int from 0 to `most`. Raises ValueError for anything else; a bool is none."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"not a count: {value!r:.100}")
    return value


def flag(value: Any) -> bool:
    """Return true or false. Raises ValueError for anything else."""
    if type(value) is not bool:
        raise ValueError(f"neither true nor false: {value!r:.100}")
    return value


def text(value: Any) -> str:
    """Return a text, as it is. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.100}")
    return value


def texts(value: Any) -> list[str]:
    """Return a list of texts. Raises ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r:.100}")
    return [text(each) for each in value]


def timestamp(value: Any) -> float:
    """Return a time in seconds since the epoch. Raises ValueError for none.

    What is no time that a calendar has would end whoever shows it.
    """
    if type(value) not in (int, float) or not 0 <= value < _END_OF_TIME:
        raise ValueError(f"not a time: {value!r:.100}")
    return float(value)


def pids(value: Any) -> tuple[int, ...]:
    """Return the processes that a node named. Raises ValueError where it did not."""
    if not isinstance(value, list) or len(value) > _MOST_PIDS:
        raise ValueError(f"not a list of processes: {value!r:.100}")
    return tuple(count(pid) for pid in value)


def not_killed(answer: Any) -> tuple[int, ...]:
    """Return the processes that a sweep could not kill."""
    return pids(answer["left"])
