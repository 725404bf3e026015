"""What was written in place of a host, or of a key, is turned into what was meant, or not guessed at."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory.hints import about_host, about_hosts, about_key
from orchestrator.inventory.readers.orch_yaml import parse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node0 slots=8", "write {name: node0, devices: 8}"),
        ("name:node0", "write name: node0, with a colon and a blank"),
        ("name node0", "write name: node0, with a colon and a blank"),
        ("node0 - node1", "each host goes on a line of its own, all '- ' in the same column"),
        ("node0 node1", "one host for each '- '"),
        ("-dash", None),
        ("", None),
    ],
)
def test_text_in_place_of_a_host(text: str, says: str | None) -> None:
    assert about_host(text) == says


def test_key_with_its_value_is_told_to_need_a_blank() -> None:
    assert about_key("port:22") == "write port: 22, with a blank after the colon"
    assert about_key("adress") is None


def test_names_in_one_line_become_a_list_and_prose_does_not() -> None:
    assert about_hosts("a, b c") == "[a, b, c]"
    assert about_hosts("see: the wiki!") is None
    assert about_hosts(" ".join("abcdefghi")) is None


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    for about in (about_host, about_hosts, about_key):
        assert about(text) is None or "\n" not in (about(text) or "") or "\n" in text


def test_entry_that_was_meant_as_a_key_is_no_host_with_a_port() -> None:
    with pytest.raises(InventoryError, match="write name: node0, with a colon and a blank"):
        parse("hosts:\n  - name:node0\n", Path("hosts.yaml"))
    (host,) = parse("hosts:\n  - root@node0:2222\n", Path("hosts.yaml")).hosts
    assert (host.name, host.user, host.port) == ("node0", "root", 2222)
