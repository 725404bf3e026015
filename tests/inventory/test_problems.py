"""Hints: what was meant by text in place of a host or a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory.problems import host_hint, hosts_hint, key_hint
from orchestrator.inventory.readers.orch_yaml import parse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node0 slots=8", "write {name: node0, devices: 8}"),
        ("name:node0", "write name: node0, with a colon and a blank"),
        ("name node0", "write name: node0, with a colon and a blank"),
        ("node0 - node1", "put each host on a line of its own, all '- ' in the same column"),
        ("node0 node1", "one host for each '- '"),
        ("-dash", None),
        ("", None),
    ],
)
def test_host_hint_for_text_that_is_no_host(text: str, says: str | None) -> None:
    assert host_hint(text) == says


def test_key_hint_for_key_and_value_asks_for_a_blank() -> None:
    assert key_hint("port:22") == "write port: 22, with a blank after the colon"
    assert key_hint("adress") is None


def test_hosts_hint_lists_names_but_not_prose() -> None:
    assert hosts_hint("a, b c") == "[a, b, c]"
    assert hosts_hint("see: the wiki!") is None
    assert hosts_hint(" ".join("abcdefghi")) is None


@given(st.text())
def test_hints_of_any_text_are_one_line(text: str) -> None:
    for about in (host_hint, hosts_hint, key_hint):
        assert about(text) is None or "\n" not in (about(text) or "") or "\n" in text


def test_entry_that_looks_like_a_key_is_not_a_host_with_a_port() -> None:
    with pytest.raises(InventoryError, match="write name: node0, with a colon and a blank"):
        parse("hosts:\n  - name:node0\n", Path("hosts.yaml"))
    (host,) = parse("hosts:\n  - root@node0:2222\n", Path("hosts.yaml")).hosts
    assert (host.name, host.user, host.port) == ("node0", "root", 2222)
