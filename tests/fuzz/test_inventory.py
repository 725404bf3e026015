"""Any inventory file gives an inventory or an InventoryError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.errors import InventoryError
from orchestrator.inventory import Inventory, load
from orchestrator.util.bounded_read import read_bounded

from .readers import contents, corpus, outcome, special_files

PIECES = (
    *(b"hosts: ", b"- ", b"\n  ", b"{", b"}", b"[", b"]", b": ", b", ", b"&a ", b"*a", b"<<: *a"),
    *(
        b'"\\UFFFFFFFF"',
        b'"\\ud800"',
        b"\\x",
        b"%YAML ",
        b"--- ",
        b"!!",
        b"|\n",
        b"\t",
        b"\0",
        b"'",
    ),
    *(b"name: ", b"user: ", b"proxy_jump: ", b"env: ", b"$(id)", b"${HOME}", b"n[0-3]", b"9" * 30),
)


def read(file: Path) -> Inventory | None:
    return outcome(lambda: load(file), InventoryError)


@pytest.mark.parametrize("file", corpus("inventory"), ids=lambda file: file.stem)
def test_inventory_of_the_corpus_gives_a_value_or_an_error(file: Path) -> None:
    inventory = read(file)
    for host in () if inventory is None else inventory.hosts:
        assert not set("$`;&|<>(){}'\"") & set(f"{host.user}{host.address}{host.proxy_jump}")


@given(contents("inventory", *PIECES))
def test_any_bytes_give_an_inventory_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "hosts.yaml"
    file.write_bytes(content)
    read(file)


def test_special_files_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_bounded, "__defaults__", (0.05,))
    for thing in special_files(tmp_path / "d"):
        assert read(thing) is None
