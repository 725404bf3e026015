"""--nproc: ranks of all nodes, or of some of them by name, range or group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.nproc import Nproc, parse_nproc, with_nproc
from orchestrator.errors import UsageError
from orchestrator.inventory import Group, Host, Inventory
from orchestrator.plan import Job

INVENTORY = Inventory(
    hosts=tuple(Host(name=f"node{i}") for i in range(4)),
    spares=(Host(name="spare", spare=True),),
    groups=(Group(name="big", hosts=("node0", "node3")),),
    source="hosts.yaml",
)


@pytest.mark.parametrize(
    ("given_as", "everywhere", "by_node"),
    [
        (None, None, {}),
        (8, 8, {}),
        ("8", 8, {}),
        ("auto", "auto", {}),
        ("gpu", "gpu", {}),
        ("cpu:4", "cpu:4", {}),
        ("node0=8,node1=4", None, {"node0": 8, "node1": 4}),
        ("node[1-3]=8", None, {"node1": 8, "node2": 8, "node3": 8}),
        ("node[1,3]=gpu,node0=cpu", None, {"node1": "gpu", "node3": "gpu", "node0": "cpu"}),
        ("@big=2,spare=1", None, {"node0": 2, "node3": 2, "spare": 1}),
        ("2,node0=4", 2, {"node0": 4}),
    ],
)
def test_nproc_is_of_all_nodes_or_of_some(
    given_as: int | str | None, everywhere: int | str | None, by_node: dict[str, int | str]
) -> None:
    job = with_nproc(Job("t.py"), parse_nproc(given_as), INVENTORY)
    assert (job.devices, job.devices_by_node) == (everywhere, by_node)


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ("", "found ''"),
        ("0", "from 1 to 1024"),
        ("1025", "from 1 to 1024"),
        (True, "found 'True'"),
        ("2,4", "2 numbers for all nodes"),
        ("node0,node1=4", "found 'node0'"),
        ("node0=", "found ''"),
        ("node0=[0,1]", "found '[0,1]'"),
        ("=4", "expected host names"),
        ("node0=8,node[0-1]=4", "node0 is given twice"),
        ("nod0=8", "this launch has no 'nod0' (did you mean 'node0'?)"),
        ("@small=8", "this launch has no group '@small'"),
        ("node[0-=8", "bracket"),
        ("a\x1b=8", r"\x1b"),
    ],
)
def test_invalid_nproc_is_refused(given_as: int | str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_nproc(Job("t.py"), parse_nproc(given_as), INVENTORY)
    assert message in str(caught.value)
    assert "--nproc" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(st.text(st.sampled_from("node[]012-3,=@bigcpu:4 \x1b"), max_size=20))
def test_any_nproc_is_parsed_or_refused(text: str) -> None:
    try:
        nproc = parse_nproc(text)
        with_nproc(Job("t.py"), nproc, INVENTORY)
    except UsageError as error:
        assert "\x1b" not in str(error)
    else:
        assert isinstance(nproc, Nproc)
