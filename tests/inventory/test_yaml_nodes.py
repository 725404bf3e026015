"""YAML as text with positions: no types are guessed, aliases are not expanded."""

import json
from pathlib import Path

import pytest
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.errors import InventoryError
from orchestrator.inventory.problems import Problems
from orchestrator.inventory.yaml_nodes import NotYaml, compose, is_merge, is_null, position


def tree(text: str) -> Node | None:
    return compose(text, Problems(Path("hosts.yaml")))


def refused(text: str) -> InventoryError:
    problems = Problems(Path("hosts.yaml"))
    with pytest.raises(NotYaml):
        compose(text, problems)
    return problems.error()


def plain(node: Node | None) -> object:
    """Return the tree as lists and pairs."""
    match node:
        case ScalarNode():
            return node.value
        case SequenceNode():
            return [plain(item) for item in node.value]
        case MappingNode():
            return [(plain(key), plain(value)) for key, value in node.value]
    return None


@pytest.mark.parametrize(
    "text", ["1e5", "0x1F", "007", "on", "true", "1_000", "2024-01-01", "12:30"]
)
def test_scalar_stays_as_typed(text: str) -> None:
    assert plain(tree(f"a: {text}")) == [("a", text)]


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null_is_null_unless_quoted(text: str) -> None:
    node = tree(f"a: {text}\nb: '{text}'\nc: !!str {text}")
    assert isinstance(node, MappingNode)
    assert [is_null(value) for _, value in node.value] == [True, False, False]


def test_only_unquoted_double_less_than_is_a_merge_key() -> None:
    node = tree("{<<: a, '<<': b, !!str <<: c}")
    assert isinstance(node, MappingNode)
    assert [is_merge(key) for key, _ in node.value] == [True, False, False]


def test_surrogate_pairs_of_json_are_joined() -> None:
    assert plain(tree(json.dumps({"a": "🙂é"}))) == [("a", "🙂é")]
    assert plain(tree('"\\ud83d é"')) == "\ud83d é"


def test_nodes_have_positions() -> None:
    node = tree("a:\n  - b\n  - {c: d}\n")
    assert isinstance(node, MappingNode)
    ((_, items),) = node.value
    assert isinstance(items, SequenceNode)
    b, table = items.value
    assert position(b) == (2, 5)
    assert position(table) == (3, 5)


def test_alias_is_the_node_of_its_anchor() -> None:
    node = tree("[&a {b: c}, *a, &a d, *a]")
    assert isinstance(node, SequenceNode)
    first, again, other, last = node.value
    assert first is again
    assert other is last


@pytest.mark.parametrize("text", ["", "# remark", "---\n...\n", "%YAML 1.2\n---\n"])
def test_empty_text_has_no_root_or_a_null_root(text: str) -> None:
    root = tree(text)
    assert root is None or is_null(root)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1", "hosts.yaml:1:6: not valid YAML: the [ on line 1 has no ]"),
        ("hosts:\n\t- a", "hosts.yaml:2:1: not valid YAML: a tab stands here; indent with spaces"),
        ("a: b: c", "hosts.yaml:1:5: not valid YAML: a second ': ' in one line"),
        ('a: "b', "hosts.yaml:1:6: not valid YAML: the quote on line 1 is not closed"),
        (
            "a: 1\n<<<<<<< HEAD\n",
            "hosts.yaml:3:1: not valid YAML: line 2 is a key without ': ' after it",
        ),
        ("a: {b: 1", "hosts.yaml:1:9: not valid YAML: the { on line 1 has no }"),
        ("a: [{b: c[1]}]", "hosts.yaml:1:10: not valid YAML: within {} and [] a name with a range"),
        ("a:\n  - b: 1\n   c: 2", "hosts.yaml:3:4: not valid YAML: this line does not continue"),
        ("a: - b", "hosts.yaml:1:4: not valid YAML: a '- ' within a line"),
        ("a: @b", "hosts.yaml:1:4: not valid YAML: a word cannot begin with this character"),
        ("a: *b", "hosts.yaml:1:4: *b has no anchor &b above it"),
        ("a: 1\n---\nb: 2", "hosts.yaml:2:1: expected one document; a second one starts here"),
        ("a: !secret b", "hosts.yaml:1:4: tags have no meaning here: !secret"),
        ("a: !!python/name:os.system x", "hosts.yaml:1:4: tags have no meaning here"),
        ("[" * 100_000, "hosts.yaml:1:33: nested more than 32 levels deep"),
        ("- " * 100_000, "hosts.yaml:1:65: nested more than 32 levels deep"),
        ("a: b\nc: \x1b[2J", r"hosts.yaml:2:4: expected text, not the control character '\x1b'"),
        ("a: \ud800", r"hosts.yaml:1:4: expected text, not the control character '\ud800'"),
        (
            'a: "\\U00110000"',
            "hosts.yaml:1:1: not valid YAML after this: an escape that is no character",
        ),
        (
            'a: "\\UFFFFFFFF"',
            "hosts.yaml:1:1: not valid YAML after this: an escape that is no character",
        ),
        (
            "%YAML 1." + "1" * 5000,
            "hosts.yaml:1:1: not valid YAML after this: an escape that is no",
        ),
    ],
)
def test_unsupported_yaml_is_refused_with_its_position(text: str, start: str) -> None:
    error = refused(text)
    assert str(error).startswith(start), str(error)
    assert len(error.problems) == 1


def test_common_mistakes_come_with_advice() -> None:
    assert "indent with spaces" in str(refused("hosts:\n\t- a"))
    assert '"node[0-3]"' in str(refused("hosts: [gpu[1-4]]"))
    assert '"node[0-3]"' in str(refused("hosts:\n- {name: gpu[1-4]}"))
