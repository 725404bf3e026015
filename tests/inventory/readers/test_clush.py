"""ClusterShell's groups: the order of their definitions, groups that do not exist, faults of its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ClusterShell.NodeSet import NodeSet
from ClusterShell.NodeUtils import GroupResolver, GroupResolverConfig, GroupSource
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import load, select
from orchestrator.inventory.readers import clush
from orchestrator.inventory.readers.clush_names import Groups

CONFIGURED = """
[Main]
default: mine
autodir: $CFGDIR
[program]
map: echo n2 n1
list: echo all
[failing]
map: echo no >&2; exit 3
[hanging]
map: sleep 600
"""
MINE = """
mine:
  gpu: 'gpu[01-04],big'
  back: 'n3,n1,n2'
  both: '@back,gpu02,@gpu'
  without: '@both!n1'
  pair: ['n9', 'n8']
  all: '@gpu,@back'
  odd: 'n[8-011]'
  circle: '@circle'
other:
  x: 'o2,o1'
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "groups.conf").write_text(CONFIGURED)
    (tmp_path / "mine.yaml").write_text(MINE)
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def groups(folder: Path) -> Groups:
    return Groups(GroupResolverConfig([str(folder / "groups.conf")]))


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("@gpu", "gpu01 gpu02 gpu03 gpu04 big"),
        ("@back", "n3 n1 n2"),
        ("@both", "n3 n1 n2 gpu02 gpu01 gpu03 gpu04 big"),
        ("@without", "n3 n2 gpu02 gpu01 gpu03 gpu04 big"),
        ("@pair", "n9 n8"),
        ("@*", "gpu01 gpu02 gpu03 gpu04 big n3 n1 n2"),
        ("@other:x,@mine:pair", "o2 o1 n9 n8"),
        ("@program:any", "n2 n1"),
        ("@gpu&gpu[02-09]", "gpu02 gpu03 gpu04"),
        ("x[3,1],@back!n[2-3]", "x3 x1 n1"),
        ("@back^n1,n0", "n3 n2 n0"),
    ],
)
def test_names_are_in_the_order_of_their_definition(
    groups: Groups, expression: str, names: str
) -> None:
    assert groups.names(expression)["hosts"] == names.split()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("@nope", "the group @nope does not exist, or has no nodes; there are @all, @back"),
        ("@other:nope", "the group @other:nope does not exist, or has no nodes; there are @x"),
        ("n1,@back!@nope", "@nope does not exist"),
        ("@odd", "same width"),
        ("@circle", "groups contain each other"),
        ("@nosource:x", "nosource"),
        ("@failing:x", "GroupSourceQueryFailed"),
        ("n*", "found the pattern 'n*'"),
        ("n[1-", "missing bracket"),
        ("n[1-20000]", "10,000"),
    ],
)
def test_what_cannot_be_listed_is_refused(groups: Groups, expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        groups.names(expression)
    assert words in str(caught.value)


NAMES = st.sampled_from(["a1", "a[1-3]", "b[2,0]", "c", "@x", "@y"])
EXPRESSIONS = st.tuples(
    NAMES, st.lists(st.tuples(st.sampled_from([",", "!", "&", "^"]), NAMES), max_size=4)
).map(lambda drawn: drawn[0] + "".join(operator + name for operator, name in drawn[1]))


@given(expression=EXPRESSIONS, x=st.lists(st.sampled_from(["a2", "b0", "c"]), min_size=1))
def test_nodes_are_those_of_clustershell(expression: str, x: list[str]) -> None:
    defined = {"x": ",".join(x), "y": "@x,a3"}
    resolver = GroupResolver(default_source=GroupSource("s", groups=defined))
    assert sorted(Groups(resolver).names(expression)["hosts"]) == sorted(
        NodeSet(expression, resolver=resolver)
    )


@pytest.mark.usefixtures("folder")
def test_reader_gives_hosts_and_the_groups_that_are_named() -> None:
    found = load("@other:x,@pair")
    assert [host.name for host in found.hosts] == ["o2", "o1", "n9", "n8"]
    assert [host.name for host in select(found, "@pair").hosts] == ["n9", "n8"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", ["@nope", "clush:-h"])
def test_reader_names_the_source_in_errors(source: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(source)
    assert str(caught.value).startswith(f"{source}: ")


def test_faults_of_its_files_are_reported(folder: Path) -> None:
    (folder / "mine.yaml").write_text("mine: [1]\n")
    with pytest.raises(InventoryError, match=r"mine\.yaml: invalid content"):
        load("@gpu")


@pytest.mark.usefixtures("folder")
def test_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clush, "_TIMEOUT", 1.0)
    with pytest.raises(InventoryError, match="ClusterShell did not end within 1 s"):
        load("clush:@hanging:x")


def test_file_with_that_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("@gpu").write_text("hosts: [a]")
    assert [host.name for host in load("@gpu").hosts] == ["a"]
