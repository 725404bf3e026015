"""Hosts on the command line, as for horovodrun and mpirun."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load

from .test_hostfile import shown


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ("h1:8,h2:4", "h1=8 h2=4"),
        ("h1, h2", "h1 h2"),
        ("h1:8,h2", "h1=8 h2"),
        ("h1,h1,h2", "h1=2 h2"),
        ("h1:2,h2:1,h1:3,h1", "h1=6 h2=1"),
        ("h1:*,h2:auto", "h1 h2"),
        ("me@h1:8,you@h2", "me@h1=8 you@h2"),
        ("gpu[08-10]:4,h[1,3]", "gpu08=4 gpu09=4 gpu10=4 h1 h3"),
        ("[fd00::17]:4,fd00::18,me@[fd00::19]:2", "node0=4 node1 me@node2=2"),
        ("10.0.0.1:2,n1.lan:1", "10.0.0.1=2 n1.lan=1"),
    ],
)
def test_hosts_are_read_with_their_ranks(given: str, hosts: str) -> None:
    notes: list[str] = []
    inventory = load(f"hosts:{given}", notes.append)
    assert shown(inventory) == hosts
    assert inventory.source == f"-H {given}"
    assert notes == []


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ("h1:2222,h2:x", [(1, "expected a number of ranks"), (9, "expected a number of ranks")]),
        ("h1:0", [(1, "expected a number of ranks from 1 to 1024")]),
        ("h1:", [(1, "expected a number of ranks")]),
        ("h1,-x", [(4, "expected a host name")]),
        (":8", [(1, "expected a host name")]),
        ("@h1", [(1, "expected a login name")]),
        ("h[1-2", [(1, "expected a closing bracket")]),
        ("h[1-99999]", [(1, "expected at most 10,000 hosts")]),
        ("h1:1000,h1:1000", [(1, "expected 1 to 1024 slots; h1 has 2,000")]),
        ("H1,h1", [(4, "'h1' and 'H1' on line 1 differ only in case")]),
        ("h1 h2", [(1, "expected a host name")]),
        ("\x1b[2J", [(1, "expected a closing bracket")]),
    ],
)
def test_faults_are_all_reported(given: str, faults: list[tuple[int, str]]) -> None:
    with pytest.raises(InventoryError) as caught:
        load(f"hosts:{given}")
    found = [(problem.column, problem.message) for problem in caught.value.problems]
    assert [column for column, _ in found] == [column for column, _ in faults]
    assert all(text.startswith(start) for (_, text), (_, start) in zip(found, faults, strict=True))
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("given", ["", ",", " "])
def test_no_hosts_at_all_raises(given: str) -> None:
    with pytest.raises(InventoryError, match=r"^-H: expected hosts, as in node0:8,node1:4"):
        load(f"hosts:{given}")


def test_file_in_place_of_hosts_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node0").write_text("n1 slots=8\n")
    with pytest.raises(InventoryError, match="-H node0: this is a file") as caught:
        load("hosts:node0")
    assert "-i node0 " in (caught.value.remedy or "")
    (host,) = load("hosts:node0:auto").hosts
    assert (host.name, host.devices) == ("node0", "auto")
