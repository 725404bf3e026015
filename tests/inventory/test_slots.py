"""`--include` and `--exclude` in DeepSpeed's words, held against DeepSpeed itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Group, Host, Inventory, select
from orchestrator.inventory.devices import Devices, selection
from orchestrator.inventory.slots import is_filter, parse_filter

from .deepspeed import parse_inclusion_exclusion

RECORDED = json.loads((Path(__file__).parent / "deepspeed_filters.json").read_text())
"""[slots by host, include, exclude, slots by host that DeepSpeed 0.19.8 uses; null: ValueError]"""


def inventory(devices: dict[str, Devices], *, spares: tuple[Host, ...] = ()) -> Inventory:
    hosts = tuple(Host(name=name, devices=its) for name, its in devices.items())
    return Inventory(hosts=hosts, spares=spares, source="hosts.yaml")


def chosen(pool: dict[str, int], include: str, exclude: str) -> list[tuple[str, list[int]]] | None:
    """Return the hosts and their slots, in order; none are left if it is refused for that."""
    try:
        left = select(inventory({**pool}), exclude=exclude or None, include=include or None).hosts
    except InventoryError as error:
        return [] if "no node is left" in str(error) else None
    return [(host.name, slots_of(host)) for host in left]


def slots_of(host: Host) -> list[int]:
    own = selection(host.devices)
    assert isinstance(own.ranks, int)
    return list(own.gpus) if own.gpus is not None else list(range(own.ranks))


@pytest.mark.parametrize(("pool", "include", "exclude", "expected"), RECORDED)
def test_choice_is_the_one_that_deepspeed_made(
    pool: dict[str, int], include: str, exclude: str, expected: dict[str, list[int]] | None
) -> None:
    assert chosen(pool, include, exclude) == (None if expected is None else [*expected.items()])


def deepspeeds(pool: dict[str, int], include: str, exclude: str) -> dict[str, list[int]] | None:
    try:
        return parse_inclusion_exclusion()(pool, include, exclude)
    except ValueError:
        return None


def test_recorded_choices_are_still_deepspeeds() -> None:
    for pool, include, exclude, expected in RECORDED:
        assert deepspeeds(pool, include, exclude) == expected


SPEC = st.builds(
    "{}{}".format,
    st.sampled_from(["h1", "h2", "h3", "h9", ""]),
    st.one_of(
        st.just(""),
        st.lists(st.sampled_from(["0", "1", "2", "3", " 1", "07", "x", "", "9"]), max_size=4).map(
            lambda slots: ":" + ",".join(slots)
        ),
    ),
)
FILTER = st.lists(SPEC, min_size=1, max_size=4).map("@".join).filter(bool)


@given(FILTER, st.booleans())
def test_choice_of_any_filter_is_deepspeeds(expression: str, excludes: bool) -> None:
    if excludes and not is_filter(expression):
        return  # it is a host range expression
    pool = {"h1": 4, "h2": 2, "h3": 3}
    include, exclude = ("", expression) if excludes else (expression, "")
    expected = deepspeeds(pool, include, exclude)
    found = chosen(pool, include, exclude)
    assert found == (None if expected is None else [*expected.items()])


@pytest.mark.parametrize(
    ("devices", "exclude", "left"),
    [
        ("auto", "a:1,3", "^1,3"),
        ("gpu", "a:1", "^1"),
        ("^3", "a:1", "^1,3"),
        ((4, 2, 0), "a:2", (4, 0)),
    ],
)
def test_slots_of_a_host_whose_gpus_are_not_counted_yet_are_left_out(
    devices: Devices, exclude: str, left: Devices
) -> None:
    (host,) = select(inventory({"a": devices}), exclude=exclude).hosts
    assert host.devices == left


@pytest.mark.parametrize(
    ("devices", "slot"), [("cpu:4", 0), ((4, 2), 3), ("^3", 3), ("auto", 1024)]
)
def test_slot_that_a_host_does_not_have_is_refused(devices: Devices, slot: int) -> None:
    for given_as in ({"include": f"a:{slot}"}, {"exclude": f"a:{slot}"}):
        with pytest.raises(InventoryError, match=f"a has no slot {slot}: its devices are "):
            select(inventory({"a": devices}), **given_as)


def test_slots_of_a_host_with_automatic_devices_are_taken_as_given() -> None:
    (host,) = select(inventory({"a": "auto"}), include="a:7,0").hosts
    assert host.devices == (0, 7)


def test_ranges_of_hosts_share_their_slots() -> None:
    hosts = select(inventory({f"n{i}": 8 for i in range(5)}), include="n[0-2]:0,2@n4").hosts
    assert [(h.name, h.devices) for h in hosts] == [
        ("n0", (0, 2)), ("n1", (0, 2)), ("n2", (0, 2)), ("n4", 8),
    ]  # fmt: skip


def test_spare_that_is_included_becomes_a_host_and_others_stay_spares() -> None:
    spares = (Host(name="s", spare=True), Host(name="t", spare=True))
    found = select(inventory({"a": 1, "b": 1}, spares=spares), include="s:0@b")
    assert [(h.name, h.spare) for h in found.hosts] == [("b", False), ("s", False)]
    assert [h.name for h in found.spares] == ["t"]


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("h1:1", True),
        ("h1:1@h2", True),
        ("h1@h2", True),
        ("h[1-3]@h4", True),
        ("h1", False),
        ("h1,h2", False),
        ("@gpu", False),
        ("h1,@gpu", False),
        ("h1, @gpu", False),
        ("h[1-3,5]", False),
    ],
)
def test_filter_is_recognised_beside_ranges_and_groups(expression: str, answer: bool) -> None:
    assert is_filter(expression) is answer


def test_groups_can_still_be_excluded() -> None:
    found = inventory({"a": 1, "b": 1})
    found = found.model_copy(update={"groups": (Group(name="gpu", hosts=("a",)),)})
    assert [host.name for host in select(found, exclude="@gpu").hosts] == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": "a", "exclude": "b"}, "--include and --exclude exclude each other"),
        ({"include": "a", "nodes": "b"}, "--include and --nodes exclude each other"),
        ({"include": "h9:0"}, "--include: the inventory has no 'h9'"),
        ({"exclude": "nod:0"}, "'nod' (did you mean 'node'?)"),
        ({"include": "a:x"}, "expected indices of GPUs after the colon, as in 0,2; found 'x'"),
        ({"include": "a:0:1"}, "found '0:1'"),
        ({"include": "a,b"}, "expected one host or range before each @; found 'a,b'"),
        ({"include": ""}, "expected one host or range"),
        ({"include": "a@\x1b[2J"}, r"\x1b"),
        ({"include": "a[0-99999999]:1"}, "10,000"),
        ({"exclude": "a:0@b@node"}, "no node is left"),
    ],
)
def test_invalid_filter_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InventoryError) as caught:
        select(inventory({"a": 1, "b": 1, "node": 1}), **options)
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(st.text(st.sampled_from("h1@:,[]-0 \x1b"), max_size=12))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_filter("--include", text)
    except InventoryError as error:
        assert "\x1b" not in str(error)
