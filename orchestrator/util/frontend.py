"""What the library needs of the user interface, which is above it: how a notebook shows its values.

The package sets where the user interface is (`orchestrator/__init__.py`); it is imported when something is
shown for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Frontend(Protocol):
    """What shows values and runs in a notebook."""

    def html(self, value: object) -> str | None:
        """Return the HTML of a value, None if it has none now."""

    def text(self, value: object) -> str | None:
        """Return a value as text of a few lines, None if its `repr` is short."""

    def cell_display(self) -> AbstractContextManager[Callable[[Any], None]] | None:
        """Return what shows a run in the cell that runs, as it is called with its events; None if no
        notebook's kernel runs this.
        """


_loaders: list[Callable[[], Frontend]] = []


def set_frontend(load: Callable[[], Frontend]) -> None:
    """Set what imports the user interface."""
    _loaders[:] = [load]


def frontend() -> Frontend:
    """Return the user interface."""
    return _loaders[0]()


class Printer(Protocol):
    """What IPython gives to `_repr_pretty_`."""

    def text(self, obj: str) -> object:
        """Print this text."""


class Shown:
    """A value that a notebook shows as HTML, and IPython elsewhere as text of a few lines."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Printer, cycle: bool) -> None:
        printer.text((None if cycle else frontend().text(self)) or repr(self))

    def _repr_html_(self) -> str | None:
        return frontend().html(self)
