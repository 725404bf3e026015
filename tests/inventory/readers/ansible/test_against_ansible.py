"""orch's own parser, held against Ansible's: generated inventories, and those in the shape of real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import load
from orchestrator.inventory.readers.ansible.files import read_files
from orchestrator.inventory.readers.ansible.values import meaning
from orchestrator.inventory.readers.base import Source

from .real import Oracle, ansible_inventory, oracle
from .shapes import SHAPES, described, inventory_of

PROGRAM = ansible_inventory()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="needs ansible-inventory (ORCH_ANSIBLE=BIN)"
)

_NUMBERS = count()
GROUPS = st.sampled_from(["a", "b", "c", "gpu-x", "all", "ungrouped"])
PATTERNS = st.sampled_from(
    [
        *(
            "n1",
            "n2",
            "a",
            "n[1:3]",
            "n[01:03]",
            "n[a:c]x",
            "n[1:9:4]",
            "r[1:2]n[8:9]",
            "n[:2]",
            "n[Y:b]",
        ),
        *("10.0.0.[1:2]", "10.0.0.7", "n1:22", "n[1:2]:2222", "[fd00::1]:22", "fd00::1", "[n1]:22"),
        *(
            "n_:22",
            "-n",
            "n.lan:0",
            "n[1:2",
            "n]",
            "n[1-2]",
            "n[01:2]",
            "n[x:1]",
            "n[]",
            "n:",
            "a:b:1",
        ),
        *(
            "10.0.0.300:22",
            "n[1:2].lan:99999",
            "1.2.3.4:22",
            "fd00::[1:a]",
            "n[1:2]:",
            "é1",
            "n[1:2:0]",
        ),
    ]
)
KEYS = st.sampled_from(["ansible_host", "ansible_port", "x", "y_z", "ansible_group_priority"])
VALUES = st.sampled_from(
    [
        *(
            "1",
            "02",
            "1.50",
            "True",
            "none",
            "'q'",
            '"q q"',
            "a=b",
            "",
            "[1, 2]",
            "{'a': 1}",
            "1e3",
            "0x1f",
        ),
        *(
            "a#b",
            "a # b",
            "'unclosed",
            "{{ x }}",
            "1_000",
            "b'x'",
            "...",
            "a;b",
            "$HOME",
            r"a\b",
            "(1,)",
        ),
    ]
)
ASSIGNED = st.builds("{}={}".format, KEYS, VALUES)
LINES = st.one_of(
    st.builds("[{}]".format, GROUPS),
    st.builds("[{}:children]".format, GROUPS),
    st.builds("[{}:vars]".format, GROUPS),
    GROUPS,
    st.builds("{} {}".format, PATTERNS, st.lists(ASSIGNED, max_size=2).map(" ".join)),
    PATTERNS,
    ASSIGNED,
    st.builds("{} = {}".format, KEYS, VALUES),
    st.sampled_from(
        [
            "",
            "# x",
            "; x",
            "[a] # x",
            "[ a ]",
            "[a:hosts]",
            "[a:b]",
            "[a",
            "\tn1\t#x",
            "b # x",
            "---",
        ]
    ),
)
TEXTS = st.one_of(st.none(), st.sampled_from(["v", "w w", "7", "{{ x }}"]))
VARIABLES = st.dictionaries(st.sampled_from(["x", "ansible_host", "y"]), TEXTS, max_size=2)
HOSTS = st.dictionaries(PATTERNS, st.one_of(st.none(), VARIABLES), max_size=3)


def _groups(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    sections = {
        "hosts": HOSTS,
        "vars": VARIABLES,
        "children": st.dictionaries(GROUPS, inner, max_size=3),
    }
    return st.fixed_dictionaries({}, optional=sections)


TREES = st.dictionaries(
    GROUPS, st.recursive(st.none(), _groups, max_leaves=6), min_size=1, max_size=3
)
# What orch refuses and Ansible takes: a range that stands for nothing, or for something unlikely.
STRICTER = (
    *("upwards", "expected a range", "expected the name of a host"),
    *("contain each other", "cannot be in"),
)


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    assert PROGRAM is not None
    with oracle(PROGRAM, tmp_path_factory.mktemp("ansible") / "stderr") as process:
        yield process


def _comparable(found: dict[str, Any]) -> dict[str, Any]:
    groups = {name: sorted(hosts) for name, hosts in found["groups"].items()}
    if groups.keys() & found["hosts"].keys():
        del groups["ungrouped"]  # to Ansible the group, not the host, of that name is in it
    return {
        "hosts": [(host, _without_quotes(variables)) for host, variables in found["hosts"].items()],
        "groups": groups,
    }


def _own(path: Path) -> dict[str, Any]:
    listing = read_files(Source(str(path)))
    hosts = {
        host: {key: _shown(value.given) for key, value in variables.items()}
        for host, variables in listing.hosts.items()
    }
    return _comparable({"hosts": hosts, "groups": listing.groups})


def _shown(given: object) -> str:
    value = meaning(given)
    if isinstance(value, (tuple, set)):
        value = list(value)
    if isinstance(value, bytes):
        value = value.decode()
    return "..." if value is ... else str(value)


def _without_quotes(variables: dict[str, str]) -> list[tuple[str, str]]:
    """Return variables for comparison: orch has what YAML guesses as text, also in lists."""
    return sorted((key, value.replace("'", "").lower()) for key, value in variables.items())


def _theirs(answer: dict[str, Any]) -> dict[str, Any]:
    for variables in answer["hosts"].values():
        for key in ("ansible_facts", "ansible_config_file"):
            variables.pop(key, None)
    return _comparable(answer)


def _check(ansible: Oracle, path: Path) -> None:
    answer = ansible.ask(path)
    try:
        own = _own(path)
    except InventoryError as error:
        assert answer is None or any(each in str(error) for each in STRICTER), str(error)
        return
    assert answer is not None, own
    assert own == _theirs(answer)


def _folder(tmp_path: Path) -> Path:
    """Return a new folder: Ansible remembers files of variables by their path."""
    folder = tmp_path / f"{next(_NUMBERS)}"
    folder.mkdir()
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=12))
def test_ini_is_read_as_ansible_reads_it(
    ansible: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    path = _folder(tmp_path) / "hosts.ini"
    path.write_text("\n".join(lines))
    with monkeypatch.context() as patch:
        patch.chdir(path.parent)
        _check(ansible, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, names=st.dictionaries(GROUPS, VARIABLES, max_size=3), hosts=VARIABLES)
def test_json_with_files_of_variables_is_read_as_ansible_reads_it(
    ansible: Oracle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: Any,
    names: dict[str, Any],
    hosts: Any,
) -> None:
    folder = _folder(tmp_path)
    path = folder / "hosts.json"
    path.write_text(json.dumps(tree))
    (folder / "group_vars").mkdir()
    (folder / "host_vars").mkdir()
    for name, variables in names.items():
        (folder / "group_vars" / f"{name}.yml").write_text(json.dumps(variables))
    (folder / "host_vars" / "n1").write_text(json.dumps(hosts))
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        _check(ansible, path)


@pytest.mark.parametrize("name", SHAPES)
def test_shape_is_read_as_ansible_reads_it(
    ansible: Oracle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = inventory_of(name)
    monkeypatch.chdir(path.parent)
    answer = ansible.ask(path)
    assert answer is not None
    assert _own(path) == _theirs(answer)


@pytest.mark.parametrize("name", SHAPES)
def test_shape_read_by_ansible_inventory_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inventory_of(name)
    assert PROGRAM is not None
    monkeypatch.setenv("PATH", str(Path(PROGRAM).parent))
    notes: list[str] = []
    theirs = described(load(str(path), notes.append), notes)
    monkeypatch.setenv("PATH", "/nonexistent")
    own_notes: list[str] = []
    assert theirs == described(load(str(path), own_notes.append), own_notes)
