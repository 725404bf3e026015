"""The key `devices`: which values are valid, and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InventoryError
from orchestrator.inventory import Host
from orchestrator.inventory.devices import (
    MAX_DEVICES,
    Devices,
    Selection,
    parse_devices,
    parse_ranks,
    selection,
    written,
)
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.runs.codec import decode, encode

INDICES = st.lists(st.integers(0, MAX_DEVICES - 1), min_size=1, max_size=9, unique=True)
VALID = st.one_of(
    st.integers(1, MAX_DEVICES),
    st.sampled_from(["auto", "gpu", "cpu"]),
    st.integers(1, MAX_DEVICES).map("cpu:{}".format),
    INDICES.map(tuple),
    INDICES.map(lambda indices: "^" + ",".join(map(str, indices))),
)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (8, Selection(8)),
        ("8", Selection(8)),
        ("auto", Selection("auto")),
        ("gpu", Selection("gpu")),
        ("cpu", Selection(1, ())),
        ("cpu:4", Selection(4, ())),
        ([3, 0, 2], Selection(3, (3, 0, 2))),
        (["3", " 0"], Selection(2, (3, 0))),
        ("^3", Selection("gpu", without=(3,))),
        ("^1, 3", Selection("gpu", without=(1, 3))),
    ],
)
def test_value_selects_gpus_and_counts_ranks(value: object, meaning: Selection) -> None:
    assert selection(parse_devices(value)) == meaning


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "from 1 to 1024"),
        (1025, "from 1 to 1024"),
        (True, "from 1 to 1024"),
        ("", "from 1 to 1024"),
        ("xpu", "auto, gpu, cpu, or cpu:4"),
        ("cpu:0", "cpu:4"),
        ("cpu:4x", "cpu:4"),
        ("cpu:1025", "cpu:4"),
        ([], "at least one GPU"),
        ([0, 2, 0], "each GPU once; 0 is there twice"),
        ([1, "01"], "each GPU once"),
        ([-1], "'-1' is not one"),
        (["0-3"], "'0-3' is not one"),
        ([True], "'True' is not one"),
        ([1024], "from 0 to 1023"),
        ("^", "'' is not one"),
        ("^a", "'a' is not one"),
        (["\x1b[2J"], r"\x1b"),
    ],
)
def test_invalid_value_is_refused_with_what_was_expected(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_devices(value)
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("value", [[0], "^1"])
def test_number_of_ranks_names_no_gpus(value: object) -> None:
    with pytest.raises(ValueError, match="from 1 to 1024"):
        parse_ranks(value)


@given(VALID)
def test_value_is_the_same_from_yaml_from_python_and_from_a_record(value: Devices) -> None:
    given_as = written(value) if isinstance(value, tuple) else f"'{value}'"
    (host,) = parse(f"hosts: [{{name: a, devices: {given_as}}}]", Path("h.yaml")).hosts
    assert host == Host(name="a", devices=value)
    assert decode(Host, encode(host)) == host
    assert hash(host) == hash(Host(name="a", devices=value))


@given(st.one_of(st.text(max_size=9), st.lists(st.text(max_size=4), max_size=4), st.integers()))
def test_any_value_is_accepted_or_refused_with_a_valueerror(value: object) -> None:
    try:
        parsed = parse_devices(value)
    except ValueError as error:
        assert str(error).startswith("expected ")
        assert str(error).isprintable()
    else:
        assert parse_devices(parsed) == parsed


def test_lists_in_defaults_are_overridden_as_a_whole() -> None:
    text = (
        "defaults: {devices: [0, 1]}\nhosts: [a, {name: b, devices: [3]}, {name: c, devices: null}]"
    )
    hosts = parse(text, Path("h.yaml")).hosts
    assert [host.devices for host in hosts] == [(0, 1), (3,), "auto"]


def test_fault_in_a_list_has_its_position() -> None:
    with pytest.raises(
        InventoryError, match=r"h\.yaml:2:24: hosts\[0\]\.devices: .*'x' is not one"
    ):
        parse("hosts:\n  - {name: a, devices: [0, x]}", Path("h.yaml"))
