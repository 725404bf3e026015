"""The matrix of measurements between nodes fits the width, and slow pairs stand out."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ui.heatmap import BYTES_PER_SECOND, SECONDS, Values, heatmap

GIGABIT = 125e6


def names(n: int) -> list[str]:
    return [f"node{i}" for i in range(n)]


def even(nodes: list[str], value: float) -> dict[tuple[str, str], float]:
    return dict.fromkeys(permutations(nodes, 2), value)


def lines(
    nodes: list[str], values: Values, good: Literal["low", "high"], width: int = 80
) -> list[str]:
    scales = SECONDS if good == "low" else BYTES_PER_SECOND
    return heatmap("it", scales, nodes, values, good=good, width=width).plain.splitlines()


def test_few_nodes_are_shown_with_numbers_and_unit() -> None:
    values = {**even(names(3), 84.24e-6), ("node2", "node0"): 1.3e-3}
    assert lines(names(3), values, "low") == [
        "it in µs, from row to column; usual is 84",
        "          0     1     2",
        "node0     \\    84    84",
        "node1    84     \\    84",
        "node2  1300    84     \\",
    ]


@pytest.mark.parametrize(
    ("usual", "heading"),
    [
        (250e-6, "it in µs, from row to column; usual is 250"),
        (2.5e-3, "it in ms, from row to column; usual is 2.50"),
        (1.25, "it in s, from row to column; usual is 1.25"),
    ],
)
def test_unit_fits_the_usual_value(usual: float, heading: str) -> None:
    assert lines(names(2), even(names(2), usual), "low")[0] == heading


def test_bandwidth_is_in_bits() -> None:
    assert lines(names(2), even(names(2), 9.4 * GIGABIT), "high")[2] == "node0     \\  9.40"
    assert "in Mb/s" in lines(names(2), even(names(2), 0.94 * GIGABIT), "high")[0]


def test_one_slow_node_of_three_stands_out() -> None:
    values = {pair: GIGABIT * (1 if "node2" in pair else 9) for pair in permutations(names(3), 2)}
    text = heatmap("it", BYTES_PER_SECOND, names(3), values, good="high", width=80)
    marked = [
        text.plain[span.start : span.end].strip() for span in text.spans if "red" in str(span.style)
    ]
    assert marked == ["1.00"] * 4


def test_many_nodes_are_shown_with_one_character_per_pair() -> None:
    nodes = names(64)
    values = even(nodes, 1e-4)
    values.update({("node62", other): 2e-3 for other in nodes if other != "node62"})
    values["node0", "node1"] = 2e-4
    found = lines(nodes, values, "low")
    assert max(map(len, found)) <= 80
    assert found[1:3] == [
        f"{'':17}{''.join(str(n) * 10 for n in range(1, 6))}6666",
        f"{'':7}{'0123456789' * 6}0123",
    ]
    assert found[3] == "node0  \\o" + "." * 62
    assert found[3 + 62] == "node62 " + "#" * 62 + "\\#"
    assert found[3 + 64] == ". usual   o over 1.5 times longer   X over 3 times   # over 10 times"


def test_more_nodes_than_columns_share_characters() -> None:
    nodes = names(200)
    values = even(nodes, 9 * GIGABIT)
    values["node101", "node55"] = GIGABIT
    found = lines(nodes, values, "high")
    assert max(map(len, found)) <= 80
    assert found[-1] == "each is the worst of 3 x 3 pairs; --output json has all"
    (row,) = [line for line in found[4:-2] if "#" in line]
    assert row.startswith("99")
    assert row[5:].index("#") == 55 // 3


def test_missing_values_are_empty_with_a_note() -> None:
    values = even(names(3), 1e-4)
    del values["node1", "node2"]
    found = lines(names(3), values, "low")
    assert found[3].split() == ["node1", "100", "\\"]
    assert found[-1] == "empty: not measured"


def test_dissimilar_names_are_numbered() -> None:
    found = lines(["alpha", "beta-long-name"], even(["alpha", "beta-long-name"], 1e-4), "low")
    assert found[1:] == [
        "                    0    1",
        "0 alpha             \\  100",
        "1 beta-long-name  100    \\",
    ]


def test_columns_are_headed_by_what_distinguishes_the_names() -> None:
    nodes = [f"gpu-{number}.lan" for number in (10, 11, 12)]
    assert lines(nodes, even(nodes, 1e-4), "low")[1].split() == ["10", "11", "12"]


@settings(deadline=None)
@given(
    st.lists(st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True), max_size=90, unique=True),
    st.integers(72, 200),
    st.data(),
)
def test_any_names_fit_the_width(nodes: list[str], width: int, data: st.DataObject) -> None:
    pairs = list(permutations(nodes[:20], 2))
    some = data.draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else []
    values = {pair: data.draw(st.floats(0, 1e12)) for pair in some}
    assert all(len(line) <= width for line in lines(nodes, values, "high", width))
