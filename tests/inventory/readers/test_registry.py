"""A source is read by the named reader, else by the first that recognises it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load, select
from orchestrator.inventory.readers import registry

from ..packages import install_reader

PLAIN = """
from orchestrator.errors import InventoryError
from orchestrator.inventory import Group, Host, Inventory
from orchestrator.inventory.problems import Problems
from orchestrator.inventory.readers.base import Reader, Source


class Plain(Reader):
    name = "plain"
    help = "a list of names"

    def recognises(self, source: Source) -> bool:
        return source.head.startswith(b"#plain") or source.given.startswith("plain@")

    def read(self, source: Source) -> Inventory:
        names = source.text.split()[1:] if source.path else source.given.split("@")[1:]
        problems = Problems(source.given)
        for index, name in enumerate(names):
            if name == "bad":
                problems.add(index + 2, 1, "", "no host")
        if problems:
            raise problems.error()
        if not names:
            raise InventoryError(f"{source}: no host is listed")
        hosts = tuple(Host(name=name) for name in names)
        groups = (Group(name="odd", hosts=tuple(names[1::2])),)
        return Inventory(hosts=hosts, groups=groups, source=source.given)


READER = Plain()
"""


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


def add(folder: Path, patch: pytest.MonkeyPatch, name: str, code: str) -> None:
    """Install the reader `name` into `folder`."""
    patch.delitem(sys.modules, f"orch_{name}_reader", raising=False)
    install_reader(folder, name, code)
    patch.syspath_prepend(folder)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install the reader `plain`; return the list to collect what `load` notes."""
    add(tmp_path / "packages", monkeypatch, "plain", PLAIN)
    return []


def written(folder: Path, text: str, name: str = "hosts") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_source_that_a_plugin_recognises_is_read_by_it(tmp_path: Path, notes: list[str]) -> None:
    file = written(tmp_path, "#plain\nb\na\n")
    assert [host.name for host in load(file, notes.append).hosts] == ["b", "a"]
    assert notes == [f"{file}: read as a list of names"]


def test_source_of_a_reader_that_may_run_programs_is_refused_if_only_data_counts(
    tmp_path: Path, notes: list[str]
) -> None:
    file = written(tmp_path, "#plain\nb\n", "a b")
    with pytest.raises(InventoryError) as caught:
        load(file, notes.append, only_data=True)
    assert caught.value.message == (
        f"{file}: to read a list of names may run programs on this machine"
    )
    assert caught.value.remedy == f"if you trust it, name it yourself: -i '{file}'"
    assert load(written(tmp_path, "hosts: [a]"), only_data=True).hosts


def test_formats_of_files_alone_are_data() -> None:
    readers = {name: registry._built_in(name).is_data_only for name in registry._BUILT_IN}
    assert {name for name, is_data in readers.items() if is_data} >= {
        "orch",
        "accelerate-config",
        "dstack",
        "sky",
    }
    assert not readers["ansible"]  # which may run scripts, plug-ins and what ansible.cfg names


def test_source_that_is_not_a_file_is_read(notes: list[str]) -> None:
    inventory = load("plain@b@a", notes.append)
    assert ([host.name for host in inventory.hosts], inventory.source) == (["b", "a"], "plain@b@a")


@pytest.mark.parametrize("rest", ["", "hosts"])
def test_named_reader_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], rest: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "hosts: of orch unless a reader is named")
    if rest:
        assert load(f"plain:{rest}", notes.append).hosts[0].name == "of"
    else:
        with pytest.raises(InventoryError, match=r"^plain:: no host is listed"):
            load("plain:", notes.append)


def test_orchs_own_inventory_is_read_without_loading_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load_plugins", None)
    for text in (
        "hosts: [a]",
        "\ufeff# ours\n\ndefaults:\n  user: me\nhosts: [a]",
        '{"hosts": ["a"]}',
    ):
        for given in (file := written(tmp_path, text), Path(file), f"orch:{file}"):
            assert [host.name for host in load(given).hosts] == ["a"]


def test_source_that_no_reader_recognises_is_read_as_orchs_own(
    tmp_path: Path, notes: list[str]
) -> None:
    with pytest.raises(InventoryError, match="host: unknown key; did you mean 'hosts'"):
        load(written(tmp_path, "host: [a]"), notes.append)
    assert notes == []


@pytest.mark.parametrize("name", ["C:hosts", "node0:2222", "plainer:x", "plain"])
def test_file_name_with_a_colon_but_no_reader_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(written(tmp_path, "hosts: [a]", name) and name, notes.append).hosts[0].name == "a"


def test_path_never_names_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "hosts: [a]", "plain:x")
    assert load(Path("plain:x"), notes.append).hosts[0].name == "a"


def test_name_that_is_neither_file_nor_reader_lists_the_readers(notes: list[str]) -> None:
    with pytest.raises(InventoryError) as caught:
        load("nomad:", notes.append)
    own = [name for name in registry._BUILT_IN if name != registry._LAST]
    formats = ", ".join([*own, "plain", registry._LAST])
    assert str(caught.value) == (
        "nomad:: there is no such inventory, and no format 'nomad' to read one in\n"
        f"  → name a file; the formats are {formats}"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("hostfile:", "hostfile:: expected a file after the colon"),
        (
            "dstack:a.yml",
            "dstack:a.yml: there is no such inventory\n  → name the file: -i dstack:FILE",
        ),
    ],
)
def test_named_reader_without_its_file_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], given: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InventoryError) as caught:
        load(given, notes.append)
    assert str(caught.value) == said


def test_fault_in_another_format_has_its_position(tmp_path: Path, notes: list[str]) -> None:
    file = written(tmp_path, "#plain\na\nbad\n")
    with pytest.raises(InventoryError) as caught:
        load(file, notes.append)
    assert str(caught.value) == f"{file}:3:1: no host"


def test_group_is_selected_by_its_name(notes: list[str]) -> None:
    inventory = load("plain@a@b@c@d")
    assert [host.name for host in select(inventory, "c,@odd").hosts] == ["b", "c", "d"]
    assert [host.name for host in select(inventory, exclude="@odd").hosts] == ["a", "c"]
    with pytest.raises(
        InventoryError, match=r"no group '@od' .did you mean '@odd'.*\n.*it has @odd"
    ):
        select(inventory, "@od")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("READER = 7", "orch_odd_reader:READER is of type int; expected a Reader"),
        (PLAIN, "calls itself 'plain'"),
        (
            PLAIN.replace('"plain"', '"odd"').replace("source.head", "source.tail"),
            "has no attribute 'tail'",
        ),
    ],
    ids=["import", "exit", "type", "name", "recognises"],
)
def test_broken_plugin_is_reported_once_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str], code: str, why: str
) -> None:
    add(tmp_path / "odd", monkeypatch, "odd", code)
    written(tmp_path, "#plain\na\n", "plainer:x")
    monkeypatch.chdir(tmp_path)
    assert load("plainer:x", notes.append).hosts[0].name == "a"
    left_out, read = notes
    assert left_out.startswith("inventory format 'odd'")
    assert "left out: " in left_out
    assert why in left_out
    assert read == "plainer:x: read as a list of names"


def test_broken_plugin_that_is_named_is_an_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, monkeypatch, "odd", "1 / 0")
    with pytest.raises(
        InventoryError, match=r"'odd' of orch_odd 1\.2 is left out: ZeroDivisionError"
    ):
        load("odd:x")


def test_plugin_cannot_take_the_name_of_orchs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, monkeypatch, "orch", PLAIN.replace('"plain"', '"orch"'))
    assert load("orch:" + written(tmp_path, "hosts: [a]")).hosts[0].name == "a"


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ("1 / 0", "cannot be read as a list of names: ZeroDivisionError"),
        ("return ['a']", "read as a list of names: no Inventory, but of type list"),
        ("return Inventory(hosts=(), source='')", "read as a list of names: no host in it"),
        (
            "return Inventory(hosts=(Host(name='a'), Host(name='A')), source='')",
            "read as a list of names: duplicate name 'A'",
        ),
    ],
)
def test_inventory_of_a_plugin_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, start: str
) -> None:
    code = PLAIN.replace('"plain"', '"odd"').replace(
        "        names =", f"        {body}\n        names ="
    )
    add(tmp_path, monkeypatch, "odd", code)
    with pytest.raises(InventoryError) as caught:
        load("odd:x")
    assert str(caught.value).startswith(f"odd:x: {start}")
