"""Plug-ins of installed packages: found by name, or left out with the reason."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.util.plugins import load_plugins, plugin_names

from .packages import install

GROUP = "orch.tests"


@dataclass(frozen=True)
class Thing:
    name: str


CODE = """
from tests.util.test_plugins import Thing
A, B = Thing("a"), Thing("b")
"""


def test_plugin_names_import_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "p", GROUP, {"b": "plug_names:B", "a": "plug_names:A"}, plug_names="1 / 0")
    assert plugin_names(GROUP) == ("a", "b")
    assert plugin_names("orch.nothing") == ()


def test_plugins_of_several_packages_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "p", GROUP, {"b": "plug_several:B"}, plug_several=CODE)
    install(tmp_path, "q", GROUP, {"a": "plug_several:A"})
    loaded = load_plugins(GROUP, Thing, taken=())
    assert loaded.found == {"a": Thing("a"), "b": Thing("b")}
    assert list(loaded.found) == ["a", "b"]
    assert loaded.broken == ()


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("gone_module:A", "", "ModuleNotFoundError: No module named 'gone_module'"),
        ("plug:A", "1 / 0", "ZeroDivisionError: division by zero"),
        ("plug:A", "A B", "SyntaxError: invalid syntax (plug.py, line 1)"),
        ("plug:A", "raise SystemExit('no')", "SystemExit: no"),
        ("plug:A", "raise ValueError('a\\x1b[2J\\nb' * 999)", "ValueError: a [2J b"),
        ("plug:C", CODE, "AttributeError: module 'plug' has no attribute 'C'"),
        ("plug:A", "A = 3", "plug:A is of type int; expected a Thing of tests.util.test_plugins"),
        ("plug:Thing", CODE, "plug:Thing is a class, not an object of it; expected a Thing of"),
        ("plug:B", CODE, "plug:B calls itself 'b', and its entry point 'a'"),
    ],
)
def test_plugin_that_cannot_be_used_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, code: str, why: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plug", raising=False)
    install(tmp_path, "p", GROUP, {"a": value}, plug=code)
    loaded = load_plugins(GROUP, Thing, taken=())
    assert loaded.found == {}
    (broken,) = loaded.broken
    assert str(broken).startswith(f"'a' of p 1.2 is left out: {why}")
    assert str(broken).isprintable()
    assert len(str(broken)) < 400


def test_plugin_whose_name_is_taken_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    install(second, "q", GROUP, {"a": "plug_taken:A"})
    monkeypatch.syspath_prepend(second)
    install(first, "p", GROUP, {"a": "plug_taken:A", "b": "plug_taken:B"}, plug_taken=CODE)
    monkeypatch.syspath_prepend(first)
    loaded = load_plugins(GROUP, Thing, taken=("b",))
    assert loaded.found == {"a": Thing("a")}
    assert [(each.name, each.package, each.why) for each in loaded.broken] == [
        ("a", "q 1.2", "another package has one of that name"),
        ("b", "p 1.2", "orch has one of that name itself"),
    ]
