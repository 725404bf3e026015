"""Any text is an inventory or an InventoryError with correct line numbers."""

import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Host, Inventory
from orchestrator.inventory.readers.orch_yaml import parse

SOURCE = Path("hosts.yaml")
KEYS = ["hosts", "defaults", "main", "env", "x-a", "A", "zz", *Host.model_fields]

# Pieces of YAML, valid and not.
PIECES = [
    *"{}[]:,-?&*!|>%@`'\"#~<\\ \n\t=0aU",
    *("hosts: ", "- ", "\n  ", "---\n", "...\n", "%YAML 1.1\n", "%TAG ! ", "&a ", "*a", "!!"),
    *("<<: ", "\\x", "\\U00", "\\ud800", "|2-\n", "\r", "\0", "\x85", "\u2028", "\ufeff", "\ud800"),
    *(f"{key}: " for key in KEYS),
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["node[0-3]", "n[1,2].lan", "10.0.0.1", "::1", "auto", "torchrun", "~/x", "-x"]
    ),
    st.text(max_size=8),
)
structures = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)


def parsed(text: str) -> Inventory | None:
    """Return the inventory; None if it was refused, with positions and printable text."""
    try:
        inventory = parse(text, SOURCE)
    except InventoryError as error:
        assert error.problems
        assert str(error).replace("\n", "").isprintable()
        lines = text.count("\n") + text.count("\r") + 1
        for problem in error.problems:
            assert 1 <= problem.line <= lines
            assert problem.column >= 1
        return None
    assert inventory.hosts
    assert len({host.name for host in inventory.hosts}) == len(inventory.hosts)
    return inventory


@given(st.text())
@example("hosts: \ud800")
@example("hosts: &a [*a]")
@example("&a {<<: *a, hosts: [{<<: *a}]}")
def test_any_text_is_an_inventory_or_an_error(text: str) -> None:
    parsed(text)


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_text_close_to_yaml_is_an_inventory_or_an_error(text: str) -> None:
    parsed(text)


@given(st.one_of(structures, st.fixed_dictionaries({"hosts": structures})))
def test_any_json_is_an_inventory_or_an_error(structure: object) -> None:
    parsed(json.dumps(structure))  # JSON is YAML


names = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
# Valid for execve: no NUL, no surrogates.
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
environments = st.dictionaries(names, values, max_size=4)
settings = st.fixed_dictionaries(
    {},
    optional={
        "port": st.integers(1, 65535),
        "user": st.sampled_from(["ann", "bob"]),
        "devices": st.one_of(st.integers(1, 1024), st.just("auto")),
        "python": st.text("ab /é", min_size=1),
    },
)


@given(settings, environments, st.lists(st.tuples(settings, environments), min_size=1, max_size=4))
def test_parse_returns_the_hosts_that_were_written(
    defaults: dict[str, object],
    shared: dict[str, str],
    entries: list[tuple[dict[str, object], dict[str, str]]],
) -> None:
    written = [
        {"name": f"n{number}", **own, "env": env} for number, (own, env) in enumerate(entries)
    ]
    meant = [
        {**defaults, "name": f"n{number}", **own, "env": {**shared, **env}}
        for number, (own, env) in enumerate(entries)
    ]
    text = json.dumps({"defaults": {**defaults, "env": shared}, "hosts": written})
    assert parse(text, SOURCE).hosts == tuple(map(Host.model_validate, meant))


FAULTS = {
    "prot: 22": (0, "prot", "unknown key"),
    "port: many": (6, "port", "expected a port"),
    "devices: [[1]]": (9, "devices", "found a list"),
    "env: {1 A: x}": (6, "env.1 A", "expected a variable's name"),
    "name: again": (0, "name", "duplicate key"),
    "launcher: torchrum": (10, "launcher", "did you mean 'torchrun'?"),
}


@given(st.data())
def test_fault_has_the_position_where_it_is(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    lines = ["hosts:"]
    starts = []
    for number in range(count):
        starts.append(len(lines))
        remarks = data.draw(
            st.lists(st.sampled_from(["", "    # remark", "    user: ann"]), max_size=3)
        )
        lines += [f"  - name: n{number}", *dict.fromkeys(remarks)]
    index = data.draw(st.integers(0, count - 1))
    fault = data.draw(st.sampled_from(sorted(FAULTS)))
    end = [*starts[1:], len(lines)][index]
    place = data.draw(st.integers(starts[index] + 1, end))
    lines.insert(place, f"    {fault}")
    offset, key, message = FAULTS[fault]
    try:
        parse("\n".join(lines), SOURCE, lambda: ("torchrun", "mpi"))
    except InventoryError as error:
        (problem,) = error.problems
        assert (problem.line, problem.column) == (place + 1, 5 + offset)
        assert problem.key == f"hosts[{index}].{key}"
        assert message in problem.message
    else:
        raise AssertionError("no error")
