"""Rebuild the exception that a function raised on a rank, from what the rank says about it.

Its class is looked up among the modules that this process has imported; no method of it is called but those
of Python's own base class. So `except ValueError` works, and a node can run nothing here.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

from orchestrator.calls.reader import InvalidValue, known_class
from orchestrator.util.text import printable, printable_lines


class RemoteTraceback(Exception):
    """The traceback of a rank, as text: the cause of the exception that stands for it here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


@dataclass(frozen=True)
class Raised:
    """What a rank says about the exception that ended it.

    `type_name` is its full name (`project.errors.NoData`), `text` what it says, and `args` and `state` are
    None if they have values that cannot travel.
    """

    module: str
    name: str
    text: str
    args: tuple[Any, ...] | None
    state: dict[str, Any] | None
    notes: tuple[str, ...]
    traceback: str

    @classmethod
    def parse(cls, said: Any) -> Raised:
        """Return it from a rank's own words. Raises InvalidValue."""
        try:
            args, state = said["args"], said["state"]
            texts = [said[key] for key in ("module", "name", "text", "traceback")]
            notes = said["notes"]
        except (TypeError, LookupError):
            raise InvalidValue("it does not say what was raised") from None
        well_formed = (
            all(type(each) is str for each in (*texts, *(notes if type(notes) is list else [None])))
            and (args is None or type(args) is tuple)
            and (state is None or (type(state) is dict and all(type(key) is str for key in state)))
        )
        if not well_formed:
            raise InvalidValue("it does not say properly what was raised")
        module, name, text, traceback = texts
        return cls(module, name, text, args, state, tuple(notes), traceback)

    @property
    def type_name(self) -> str:
        """The full name of its class, safe on a terminal."""
        name = self.name if self.module == "builtins" else f"{self.module}.{self.name}"
        return printable(name, 200)

    @property
    def shown(self) -> str:
        """What it says, in one line that is safe on a terminal."""
        return printable(self.text, 500)

    @property
    def cause(self) -> RemoteTraceback:
        """The traceback of the rank, safe on a terminal."""
        return RemoteTraceback(printable_lines(self.traceback))

    def rebuild(self) -> Exception | None:
        """Return an exception of the original class; None if this process does not know that class."""
        try:
            kind = known_class(self.module, self.name)
        except InvalidValue:
            return None
        if not issubclass(kind, Exception):  # SystemExit and KeyboardInterrupt would end the caller
            return None
        base = next(each for each in kind.__mro__ if vars(builtins).get(each.__name__) is each)
        args = (self.text,) if self.args is None else self.args
        try:
            error: Exception = base.__new__(kind, *args)
            base.__init__(error, *args)
        except Exception:  # such as an ExceptionGroup without exceptions
            return None
        if self.state:
            vars(error).update(self.state)
        for note in self.notes:
            error.add_note(printable_lines(note))
        return error
