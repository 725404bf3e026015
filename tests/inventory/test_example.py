"""The example inventory loads and has every key."""

from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from orchestrator.inventory import Host, Main, load
from orchestrator.inventory.problems import Problems
from orchestrator.inventory.readers.orch_yaml import _TOP, parse
from orchestrator.inventory.yaml_nodes import compose

EXAMPLE = Path(__file__).parents[2] / "inventory.example.yaml"


def keys(node: Node | None) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, MappingNode):
            found |= {key.value for key, _ in node.value}
            waiting += [value for _, value in node.value]
        elif isinstance(node, SequenceNode):
            waiting += node.value
    return found


def test_example_loads() -> None:
    inventory = load(EXAMPLE)
    names = [host.name for host in inventory.hosts]
    assert names == ["node0", "gpu01", "gpu02", "gpu03", "gpu04", "big-box", "workstation"]
    assert [host.name for host in inventory.spares] == ["spare0", "spare1"]


def test_example_has_every_key() -> None:
    there = keys(compose(EXAMPLE.read_text(), Problems(EXAMPLE)))
    assert {*_TOP, *Main.model_fields, *Host.model_fields} <= there


def test_inventories_in_comments_of_the_example_load() -> None:
    remarks = [line[2:] for line in EXAMPLE.read_text().splitlines() if line.startswith("#  ")]
    shortest, shared = remarks[0], "\n".join(remarks[1:])
    assert [host.name for host in parse(shortest, EXAMPLE).hosts] == ["node0", "node1"]
    assert parse(shared, EXAMPLE).hosts[0].devices == 8
