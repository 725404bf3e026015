"""Hostfiles are recognised by their lines, and read by the rules of the tool that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Inventory, load
from orchestrator.inventory.readers.base import HEAD_BYTES, Source
from orchestrator.inventory.readers.hostfile import READER

from .hostfiles import HOSTFILES, OTHER_FORMATS, Hostfile

FAULTS = Path(__file__).with_name("hostfile_faults.txt")


def written(folder: Path, content: str | bytes) -> str:
    file = folder / "hostfile"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


def shown(inventory: Inventory) -> str:
    """Return the hosts as in `HOSTFILES`."""
    return " ".join(
        (f"{host.user}@" if host.user else "")
        + host.name
        + (f":{host.port}" if host.port else "")
        + ("" if host.devices == "auto" else f"={host.devices}")
        for host in inventory.hosts
    )


def problems(folder: Path, content: str | bytes) -> list[str]:
    """Return the faults of a hostfile, each without the name of the file."""
    with pytest.raises(InventoryError) as caught:
        load(f"hostfile:{written(folder, content)}")
    assert caught.value.problems
    return [f"{each.line}:{each.column}: {each.message}" for each in caught.value.problems]


@pytest.mark.parametrize("hostfile", HOSTFILES.values(), ids=HOSTFILES)
def test_hostfile_is_recognised_and_read(tmp_path: Path, hostfile: Hostfile) -> None:
    notes: list[str] = []
    file = written(tmp_path, hostfile.text)
    assert shown(load(file, notes.append)) == hostfile.hosts
    assert notes == [f"{file}: read as {hostfile.dialect}"]


@pytest.mark.parametrize("text", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_other_format_is_not_taken_for_a_hostfile(tmp_path: Path, text: str) -> None:
    assert not READER.recognises(Source(written(tmp_path, text)))


def test_what_is_not_a_file_is_not_taken_for_a_hostfile(tmp_path: Path) -> None:
    assert not READER.recognises(Source(str(tmp_path)))
    assert not READER.recognises(Source("n1"))


def test_address_is_that_of_the_list(tmp_path: Path) -> None:
    inventory = load(written(tmp_path, "fd00::17 slots=8\nme@n1.lan slots=2\n"))
    assert [(host.name, host.address) for host in inventory.hosts] == [
        ("node0", "fd00::17"),
        ("n1.lan", "n1.lan"),
    ]
    assert inventory.source == tmp_path / "hostfile"


def test_long_hostfile_is_recognised_by_its_whole_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f"node{index} slots=8\n" for index in range(9_999)))
    assert Path(file).stat().st_size > HEAD_BYTES
    assert len(load(file).hosts) == 9_999


def paragraphs() -> list[tuple[str, list[str]]]:
    """Return the hostfiles of hostfile_faults.txt, each with its faults, which stand behind `! `."""
    found = []
    for paragraph in FAULTS.read_text().strip("\n").split("\n\n"):
        lines = paragraph.split("\n")
        text = "".join(f"{line}\n" for line in lines if not line.startswith("! "))
        found.append((text, [line[2:] for line in lines if line.startswith("! ")]))
    return found


@pytest.mark.parametrize(("text", "faults"), paragraphs())
def test_faults_have_their_place(tmp_path: Path, text: str, faults: list[str]) -> None:
    assert problems(tmp_path, text) == faults


def test_bytes_that_are_not_text_are_a_fault_in_a_name_only(tmp_path: Path) -> None:
    (fault,) = problems(tmp_path, b"n1 slots=1 # \xe9\nn\xe92 slots=1 # \xe9\n")
    assert fault.startswith("2:1: expected a host name")
    assert fault.endswith("found 'n\\udce92'")


@pytest.mark.parametrize(
    ("text", "message"),
    [("# n1\n", "no host is listed"), ("n1 slots=1\n^n1\n", "no host is left")],
)
def test_hostfile_without_hosts_raises(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        load(f"hostfile:{written(tmp_path, text)}")


def test_faults_and_hosts_are_limited(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "n1 slots=x\n" * 200)) == 100
    many = "".join(f"n{index}\n" for index in range(10_001))
    assert problems(tmp_path, many) == ["10001:1: more than 10,000 hosts"]


_LINES = st.text(alphabet="ab1.@:=[]^+-_/*#, \t\r\n\x00\u00e9\u202e", max_size=60)


@given(st.lists(st.one_of(_LINES, st.sampled_from([each.text for each in HOSTFILES.values()]))))
def test_any_text_is_read_or_refused_with_places(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    text = "\n".join(parts)
    file = written(tmp_path_factory.getbasetemp(), text)
    READER.recognises(Source(file))
    try:
        hosts = load(f"hostfile:{file}").hosts
    except InventoryError as error:
        assert all(
            1 <= each.line <= text.count("\n") + text.count("\r") + 1 for each in error.problems
        )
        assert str(error).replace("\n", "").isprintable()
    else:
        assert len({host.name.casefold() for host in hosts}) == len(hosts)


@pytest.mark.parametrize(
    ("ranks", "is_kept"),
    [
        ("rank 0=me@n0 slot=0\nrank 1=n0 slot=1\n", True),
        ("rank 0=n0\nrank 1=n1\n", True),
        ("rank 0=n0\nrank 1=n1\nrank 2=n0\n", False),
        ("rank 1=n1\nrank 0=n0\n", False),
    ],
)
def test_ranks_that_are_numbered_otherwise_than_in_a_rankfile_are_a_note(
    tmp_path: Path, ranks: str, is_kept: bool
) -> None:
    (tmp_path / "rankfile").write_text(ranks)
    notes: list[str] = []
    load(str(tmp_path / "rankfile"), notes.append)
    assert any("numbered one after another" in note for note in notes) is not is_kept
