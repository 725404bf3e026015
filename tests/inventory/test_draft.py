"""A drafted inventory has the hosts that were named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory.draft import draft
from orchestrator.inventory.readers.orch_yaml import parse

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True) | st.sampled_from(
    ["null", "true", "NO", "on", "1", "0x10", "1e3", "1_000", "10.0.0.1", "2026-01-31", "y"]
)
# As an address, digits and dots alone must be a complete one.
HOSTS = NAMES.filter(lambda name: name.strip("0123456789.") or name == "10.0.0.1")
TEXT = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() and text[0] != "-")


@given(
    st.lists(
        st.tuples(HOSTS, st.none() | NAMES, st.none() | st.integers(1, 65535)),
        min_size=1,
        unique_by=lambda host: host[0].lower(),
    ),
    st.none() | TEXT,
)
def test_draft_parses_to_the_given_hosts(
    hosts: list[tuple[str, str | None, int | None]], python: str | None
) -> None:
    words = [
        (f"{user}@" if user else "") + name + (f":{port}" if port else "")
        for name, user, port in hosts
    ]
    found = parse(draft(words, python=python), Path("hosts.yaml")).hosts
    assert [(host.name, host.user, host.port) for host in found] == hosts
    assert {host.python for host in found} == {"python3" if python is None else python}


def test_draft_keeps_ranges() -> None:
    text = draft(["ubuntu@gpu[01-64].lan:2222"])
    assert '  - {name: "gpu[01-64].lan", user: ubuntu, port: 2222}\n' in text
    assert len(parse(text, Path("hosts.yaml")).hosts) == 64


def test_draft_names_ipv6_addresses() -> None:
    found = parse(draft(["node0", "fd00::17", "me@[fd00::18]:2222"]), Path("hosts.yaml")).hosts
    assert [(host.name, host.address, host.port) for host in found] == [
        ("node0", "node0", None),
        ("node1", "fd00::17", None),
        ("node2", "fd00::18", 2222),
    ]


def test_draft_without_defaults_sets_none() -> None:
    host = parse(draft(["node0"]), Path("hosts.yaml")).hosts[0]
    assert (host.user, host.python) == (None, "python3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bad!host"], "expected a host name.*'bad!host'"),
        (["a", "a"], "'a' is given 2 times"),
        (["a:ssh"], "expected a port.*'ssh'"),
        (["@a"], "expected a login name"),
        (["a[3-1]"], "expected ranges to count upwards"),
        (["[fd00::1]x"], "expected a host, as in"),
        ([""], "expected"),
    ],
)
def test_draft_of_invalid_host_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        draft(words)


@given(
    st.lists(
        st.tuples(HOSTS, st.none() | NAMES, st.none() | st.integers(1, 65535)),
        min_size=1,
        unique_by=lambda host: host[0].lower(),
    )
)
def test_inventory_accepts_the_same_hosts_as_draft(
    hosts: list[tuple[str, str | None, int | None]],
) -> None:
    words = [
        (f"{user}@" if user else "") + name + (f":{port}" if port else "")
        for name, user, port in hosts
    ]
    text = f"hosts: {json.dumps(words)}\n"
    assert parse(text, Path("hosts.yaml")).hosts == parse(draft(words), Path("hosts.yaml")).hosts
