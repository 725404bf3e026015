"""Exceptions of ranks, rebuilt from what the ranks say."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.calls.raised import Raised
from orchestrator.calls.reader import InvalidValue


class Broken(Exception):
    made: list[Any] = []  # noqa: RUF012

    def __new__(cls, *args: object) -> Broken:
        cls.made.append(args)
        return super().__new__(cls, *args)

    def __init__(self, code: int, text: str) -> None:
        self.made.append(code)
        super().__init__(text)
        self.code = code


def said(**changes: Any) -> dict[str, Any]:
    plain = {"module": "builtins", "name": "ValueError", "text": "bad", "args": ("bad",), "state": {},
             "notes": [], "traceback": "Traceback ...\nValueError: bad\n"}  # fmt: skip
    return {**plain, **changes}


def test_builtin_exception_is_rebuilt_with_its_arguments_and_notes() -> None:
    error = Raised.parse(said(args=("bad", 3), notes=["try\x1b[2J"])).rebuild()
    assert type(error) is ValueError
    assert error.args == ("bad", 3)
    assert error.__notes__ == ["try [2J"]


@pytest.mark.parametrize(
    ("name", "args", "attributes"),
    [
        ("FileNotFoundError", (2, "No such file", "x.pt"), {"errno": 2, "filename": "x.pt"}),
        ("KeyError", ("lr",), {"args": ("lr",)}),
        ("UnicodeDecodeError", ("utf-8", b"\xff", 0, 1, "invalid"), {"reason": "invalid"}),
        ("StopIteration", (5,), {"value": 5}),
    ],
)
def test_builtin_attributes_are_those_of_the_arguments(
    name: str, args: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    error = Raised.parse(said(name=name, args=args)).rebuild()
    assert {key: getattr(error, key) for key in attributes} == attributes
    assert str(error)


def test_own_class_is_rebuilt_without_running_its_code() -> None:
    error: Any = Raised.parse(
        said(module=__name__, name="Broken", args=("bad",), state={"code": 7})
    ).rebuild()
    assert type(error) is Broken
    assert (str(error), error.code) == ("bad", 7)
    assert Broken.made == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "print"),
        ("builtins", "dict"),
        ("not_imported", "Error"),
        ("subprocess", "Popen"),
        ("os", "path.join"),
        ("os; import evil", "x"),
        ("builtins", "ExceptionGroup"),
    ],
)
def test_class_that_is_not_known_or_no_exception_is_not_rebuilt(module: str, name: str) -> None:
    assert Raised.parse(said(module=module, name=name)).rebuild() is None


def test_arguments_that_cannot_travel_are_replaced_by_the_text() -> None:
    error = Raised.parse(said(args=None)).rebuild()
    assert error is not None
    assert error.args == ("bad",)


def test_traceback_is_safe_on_a_terminal() -> None:
    cause = Raised.parse(said(traceback="a\x1b]0;x\x07\n  b\n")).cause
    assert str(cause) == "\na ]0;x \n  b\n"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        said(text=5),
        said(args=["x"]),
        said(state={1: 2}),
        said(notes=[5]),
        said(notes="ab"),
    ],
    ids=lambda wrong: str(wrong)[:50],
)
def test_anything_else_is_invalid(wrong: Any) -> None:
    with pytest.raises(InvalidValue):
        Raised.parse(wrong)
