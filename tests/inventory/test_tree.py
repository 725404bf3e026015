"""YAML as texts with places: nothing is guessed, nothing is expanded, nothing escapes."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory.problems import Problems
from orchestrator.inventory.tree import Listing, Node, NotYaml, Scalar, Table, compose


def tree(text: str) -> Node | None:
    return compose(text, Problems(Path("hosts.yaml")))


def refused(text: str) -> InventoryError:
    problems = Problems(Path("hosts.yaml"))
    with pytest.raises(NotYaml):
        compose(text, problems)
    return problems.error()


def plain(node: Node | None) -> object:
    """The tree as lists and pairs, to compare by."""
    match node:
        case Scalar():
            return node.text
        case Listing():
            return [plain(item) for item in node.items]
        case Table():
            return [(plain(key), plain(value)) for key, value in node.pairs]
    return None


@pytest.mark.parametrize(
    "text", ["1e5", "0x1F", "007", "on", "true", "1_000", "2024-01-01", "12:30"]
)
def test_a_scalar_stays_what_was_typed(text: str) -> None:
    assert plain(tree(f"a: {text}")) == [("a", text)]


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_nothing_is_nothing_unless_in_quotes(text: str) -> None:
    node = tree(f"a: {text}\nb: '{text}'\nc: !!str {text}")
    assert isinstance(node, Table)
    assert [value.is_null for _, value in node.pairs] == [True, False, False]


def test_json_is_yaml_down_to_its_surrogate_pairs() -> None:
    assert plain(tree(json.dumps({"a": "🙂é"}))) == [("a", "🙂é")]
    assert plain(tree('"\\ud83d é"')) == "\ud83d é"


def test_every_node_knows_its_place() -> None:
    node = tree("a:\n  - b\n  - {c: d}\n")
    assert isinstance(node, Table)
    ((_, items),) = node.pairs
    assert isinstance(items, Listing)
    b, table = items.items
    assert (b.line, b.column) == (2, 5)
    assert (table.line, table.column) == (3, 5)


def test_an_alias_is_the_very_node_it_names() -> None:
    node = tree("[&a {b: c}, *a, &a d, *a]")
    assert isinstance(node, Listing)
    first, again, other, last = node.items
    assert first is again
    assert other is last


@pytest.mark.parametrize("text", ["", "# remark", "---\n...\n", "%YAML 1.2\n---\n"])
def test_an_empty_text_has_no_tree_or_a_null_one(text: str) -> None:
    root = tree(text)
    assert root is None or root.is_null


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "hosts.yaml:1:6: not valid YAML: while parsing a flow sequence, expected ','"),
        ("hosts:\n\t- a", "hosts.yaml:2:1: not valid YAML: while scanning for the next token"),
        ("a: b: c", "hosts.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ('a: "b', "hosts.yaml:1:6: not valid YAML: while scanning a quoted scalar"),
        ("a: 1\n<<<<<<< HEAD\n", "hosts.yaml:3:1: not valid YAML: while scanning a simple key"),
        ("a: *b", "hosts.yaml:1:4: *b has no anchor &b above it"),
        ("a: 1\n---\nb: 2", "hosts.yaml:2:1: expected one document; a second one starts here"),
        ("a: !secret b", "hosts.yaml:1:4: tags have no meaning here: !secret"),
        ("a: !!python/name:os.system x", "hosts.yaml:1:4: tags have no meaning here"),
        ("[" * 100_000, "hosts.yaml:1:33: nested more than 32 levels deep"),
        ("- " * 100_000, "hosts.yaml:1:65: nested more than 32 levels deep"),
        ("a: b\nc: \x1b[2J", r"hosts.yaml:2:4: expected text, not the control character '\x1b'"),
        ("a: \ud800", r"hosts.yaml:1:4: expected text, not the control character '\ud800'"),
        ('a: "\\U00110000"', "hosts.yaml:1:1: not valid YAML after this: chr() arg"),
        ("%YAML 1." + "1" * 5000, "hosts.yaml:1:1: not valid YAML after this: Exceeds the limit"),
    ],
)
def test_what_is_not_yaml_for_us_is_told_with_its_place(text: str, told: str) -> None:
    error = refused(text)
    assert str(error).startswith(told), str(error)
    assert len(error.problems) == 1


def test_the_usual_slips_come_with_advice() -> None:
    assert "indent with spaces" in str(refused("hosts:\n\t- a"))
    assert '"node[0-3]"' in str(refused("hosts: [gpu[1-4]]"))
    assert '"node[0-3]"' in str(refused("hosts:\n- {name: gpu[1-4]}"))
