"""`--nodes` and `--exclude`: which hosts are left, in which order; messages about typos."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Host, Inventory, select
from orchestrator.inventory.model import Refused
from orchestrator.inventory.readers.orch_yaml import parse

CLUSTER = parse("hosts: ['node[0-3]', gpu-a, gpu-b]", Path("hosts.yaml"))


def names(inventory: Inventory) -> list[str]:
    return [host.name for host in inventory.hosts]


@pytest.mark.parametrize(
    ("nodes", "exclude", "left"),
    [
        (None, None, ["node0", "node1", "node2", "node3", "gpu-a", "gpu-b"]),
        ("node[0-1],gpu-a", None, ["node0", "node1", "gpu-a"]),
        ("gpu-a,node[2,0]", None, ["node0", "node2", "gpu-a"]),
        (None, "node[1-3]", ["node0", "gpu-a", "gpu-b"]),
        ("node[0-3]", "node0", ["node1", "node2", "node3"]),
    ],
)
def test_select_keeps_the_inventorys_order(
    nodes: str | None, exclude: str | None, left: list[str]
) -> None:
    assert names(select(CLUSTER, nodes, exclude)) == left


@pytest.mark.parametrize(
    ("nodes", "exclude", "words"),
    [
        ("nod0", None, ["--nodes", "'nod0' (did you mean 'node0'?)", "gpu-a,gpu-b,node[0-3]"]),
        (None, "GPU-A", ["--exclude", "'GPU-A' (did you mean 'gpu-a'?)"]),
        ("node[0-20]", None, ["'node4'", "'node8'", "and 12 more"]),
        ("node[0-1", None, ["--nodes 'node[0-1'", "closing bracket"]),
        ("node[0-99999999]", None, ["10,000"]),
        ("", None, ["--nodes ''", "expected host names"]),
        ("\x1b[2J", None, [r"\x1b"]),
        ("node0", "node[0-3]", ["no node is left"]),
    ],
)
def test_select_of_invalid_expression_is_refused(
    nodes: str | None, exclude: str | None, words: list[str]
) -> None:
    with pytest.raises(InventoryError) as caught:
        select(CLUSTER, nodes, exclude)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_select_keeps_main_and_source() -> None:
    inventory = parse("main: {port: 29500}\nhosts: [a, b]", Path("hosts.yaml"))
    chosen = select(inventory, "b")
    assert (chosen.main, chosen.source) == (inventory.main, inventory.source)


SPARES = parse("hosts: [{name: s0, spare: true}, a, b, {name: s1, spare: true}]", Path("h.yaml"))


@pytest.mark.parametrize(
    ("nodes", "exclude", "hosts", "spares"),
    [
        (None, None, ["a", "b"], ["s0", "s1"]),
        ("a", None, ["a"], ["s0", "s1"]),
        ("a,s1", None, ["a", "s1"], ["s0"]),
        ("s0", None, ["s0"], ["s1"]),
        (None, "s[0-1]", ["a", "b"], []),
        ("s0,a", "a", ["s0"], ["s1"]),
    ],
)
def test_spare_is_selected_only_by_name(
    nodes: str | None, exclude: str | None, hosts: list[str], spares: list[str]
) -> None:
    chosen = select(SPARES, nodes, exclude)
    assert (names(chosen), [host.name for host in chosen.spares]) == (hosts, spares)
    assert not any(host.spare for host in chosen.hosts)
    assert all(host.spare for host in chosen.spares)


@given(
    st.lists(st.integers(0, 999), min_size=2, max_size=20, unique=True),
    st.data(),
)
def test_nodes_and_exclude_are_complements(numbers: list[int], data: st.DataObject) -> None:
    every = [f"n{number}" for number in numbers]
    inventory = Inventory(hosts=tuple(Host(name=name) for name in every), source=Path("h"))
    chosen = data.draw(
        st.lists(st.sampled_from(every), min_size=1, max_size=len(every) - 1, unique=True)
    )
    kept = names(select(inventory, ",".join(chosen)))
    dropped = names(select(inventory, exclude=",".join(chosen)))
    assert kept == [name for name in every if name in chosen]
    assert dropped == [name for name in every if name not in chosen]


def test_select_of_a_host_that_orch_cannot_use_says_how_to_leave_it_out() -> None:
    inventory = Inventory(
        hosts=(Host(name="a", address="a"),),
        refused=(Refused(name="w", reason="w: no SSH"),),
        source="",
    )
    for options, remedy in (
        ({}, "leave out 1 host: --exclude w"),
        ({"nodes": "a,w"}, "leave out 1 host: --exclude w"),
        ({"include": "a:0@w"}, "leave out 1 host: --include without w"),
    ):
        with pytest.raises(InventoryError, match="w: no SSH") as caught:
            select(inventory, **options)
        assert caught.value.remedy == remedy
    assert [host.name for host in select(inventory, exclude="w").hosts] == ["a"]
