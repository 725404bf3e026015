"""Any inventory, written as orch's YAML, is the same inventory when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Group, Host, Inventory, Main, TransportChoice, load
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.inventory.written import as_yaml

from .readers.hostfiles import HOSTFILES, Hostfile

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,12}", fullmatch=True) | st.sampled_from(
    ["null", "true", "NO", "on", "0x10", "1e3", "1_000", "2026-01-31", "y", "10.0.0.1"]
)
LINES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and text[0] != "-")
VARIABLES = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True),
    st.text(alphabet="ab: #{}[],'\"\\\n\t\u00e9\u202e%&*!|>@`-?", max_size=12),
    max_size=3,
)
OPTIONS = st.recursive(
    st.none() | st.booleans() | st.integers(-10_000, 10_000) | LINES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    user = draw(st.none() | st.just("me") | st.just("CORP\\ann"))
    hosts = tuple(
        Host(
            name=name,
            address=draw(st.just(name) | st.just(f"fd00::{index + 1:x}")),
            user=user,
            port=draw(st.none() | st.integers(1, 65535)),
            proxy_jump=draw(st.none() | st.just("me@gate:22,bastion") | st.just("none")),
            identity_file=draw(st.none() | st.just("/home/me/a key: #1")),
            python=draw(st.just("python3") | LINES),
            devices=draw(st.just("auto") | st.integers(1, 9) | st.just((0, 2)) | st.just("cpu:4")),
            env=draw(VARIABLES),
            spare=index > 0 and draw(st.booleans()),
        )
        for index, name in enumerate(names)
    )
    transport = draw(st.dictionaries(NAMES, OPTIONS, max_size=2))
    return Inventory(
        hosts=tuple(host for host in hosts if not host.spare),
        spares=tuple(host for host in hosts if host.spare),
        main=Main(port=draw(st.none() | st.integers(1, 65535))),
        groups=tuple(Group(name=f"g{index}", hosts=(name,)) for index, name in enumerate(names)),
        transport=draw(st.none() | st.just(TransportChoice(name="srun", options=transport))),
        source="drawn",
    )


def comparable(inventory: Inventory) -> Inventory:
    """Return the inventory without where it was read."""
    transport = inventory.transport and inventory.transport.model_copy(update={"place": ""})
    return inventory.model_copy(update={"source": "", "transport": transport})


@given(inventories())
def test_written_inventory_is_read_as_the_same(inventory: Inventory) -> None:
    found = parse(as_yaml(inventory), Path("/hosts.yaml"))
    assert comparable(found) == comparable(inventory)


@pytest.mark.parametrize("hostfile", HOSTFILES.values(), ids=HOSTFILES)
def test_written_hostfile_has_the_same_hosts(tmp_path: Path, hostfile: Hostfile) -> None:
    (tmp_path / "hostfile").write_bytes(hostfile.text.encode())
    inventory = load(str(tmp_path / "hostfile"))
    (tmp_path / "hosts.yaml").write_text(as_yaml(inventory))
    assert load(tmp_path / "hosts.yaml").hosts == inventory.hosts


def test_what_hosts_have_in_common_is_written_once() -> None:
    hosts = tuple(Host(name=f"n{index}", user="me", devices=8) for index in range(2))
    assert as_yaml(Inventory(hosts=hosts, source="")).splitlines()[1:] == [
        "defaults:",
        "  user: me",
        "  devices: 8",
        "hosts:",
        "  - n0",
        "  - n1",
    ]


@pytest.mark.parametrize(
    ("inventory", "message"),
    [
        (
            Inventory(hosts=(Host(name="a", address="x"), Host(name="b", address="x")), source=""),
            "'b' has the same address, port and proxy_jump as 'a'$",
        ),
        (
            Inventory(
                hosts=(Host(name="a"),),
                transport=TransportChoice(name="t", options={"x": 1e300}),
                source="",
            ),
            "cannot hold the options of transport 't'",
        ),
    ],
)
def test_what_a_file_cannot_say_is_refused(inventory: Inventory, message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        as_yaml(inventory)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("{g: a, h: [b, c]}", None),
        ("{g: [n0]}", "groups.g: no host is called 'n0'"),
        ("{g: nod1}", "groups.g: no host is called 'nod1'; did you mean 'node1'?"),
        ("{'a b': a}", "expected the name of a group"),
        ("{g: {a: b}}", "groups.g: expected"),
        ("[a]", "groups: expected"),
    ],
)
def test_groups_of_a_file(groups: str, message: str | None) -> None:
    text = f"hosts: [a, b, c, node1]\ngroups: {groups}\n"
    if message is None:
        found = parse(text, Path("hosts.yaml")).groups
        assert found == (Group(name="g", hosts=("a",)), Group(name="h", hosts=("b", "c")))
    else:
        with pytest.raises(InventoryError, match=r"hosts\.yaml:2:") as caught:
            parse(text, Path("hosts.yaml"))
        assert message in str(caught.value)
