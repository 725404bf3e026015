"""Host range expressions: padding, steps, order, limits."""

from itertools import product

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.ranges import expand, fold


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("node0", ["node0"]),
        ("node[0-3,7],gpu-a", ["node0", "node1", "node2", "node3", "node7", "gpu-a"]),
        ("gpu[08-11]", ["gpu08", "gpu09", "gpu10", "gpu11"]),
        ("gpu[8-11]", ["gpu8", "gpu9", "gpu10", "gpu11"]),
        ("n[0-8/4]", ["n0", "n4", "n8"]),
        ("r[1-2]n[01-02].lan", ["r1n01.lan", "r1n02.lan", "r2n01.lan", "r2n02.lan"]),
        ("n[2, 0]", ["n2", "n0"]),
        (" a , b ,", ["a", "b"]),
        ("n[1,1]", ["n1", "n1"]),
        ("", []),
    ],
)
def test_expand_keeps_the_written_order(expression: str, names: list[str]) -> None:
    assert expand(expression) == names


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("node[0-3", "closing bracket"),
        ("node0-3]", "closing bracket"),
        ("node[0-[1]]", "closing bracket"),
        ("node[]", "numbers and ranges"),
        ("node[a-c]", "numbers and ranges"),
        ("node[-3]", "numbers and ranges"),
        ("node[٠-٣]", "numbers and ranges"),
        ("node[3-0]", "count upwards"),
        ("node[0-3/0]", "count upwards"),
        ("node[01-100]", "same width"),
        ("[fe80::1]", "IPv6"),
        ("x" * 254 + "[0-1]", "253 characters"),
        ("node[0-10000]", "10,000 hosts"),
        ("node[0-99999999]", "10,000 hosts"),
        ("node[0-999999999999999999]", "10,000 hosts"),
        ("a[0-9999],b", "10,000 hosts"),
        ("n" + "[0-9]" * 60, "10,000 hosts"),
    ],
)
def test_expand_of_malformed_or_huge_expression_is_an_error(expression: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        expand(expression)


def test_expand_allows_ten_thousand_names() -> None:
    assert len(expand("r[0-99]n[0-99]")) == 10_000


@st.composite
def brackets(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a bracket and the numbers in it, by brute force."""
    parts, numbers = [], []
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, 120))
        last = first + draw(st.integers(0, 12))
        step = draw(st.integers(1, 4))
        # Padded to the width of the larger end, or not padded at all.
        width = draw(st.sampled_from([0, len(str(last)), len(str(last)) + 1]))
        if first == last:
            parts.append(f"{first:0{width}}")
        else:
            parts.append(f"{first:0{width}}-{last:0{width}}" + (f"/{step}" if step > 1 else ""))
        numbers += [f"{number:0{width}}" for number in range(first, last + 1, step)]
    return f"[{','.join(parts)}]", numbers


literals = st.text("abc.-", min_size=1, max_size=4)


@given(literals, brackets(), literals, brackets())
def test_expand_equals_brute_force(
    head: str, rows: tuple[str, list[str]], middle: str, columns: tuple[str, list[str]]
) -> None:
    found = expand(f"{head}{rows[0]}{middle}{columns[0]}")
    assert found == [head + r + middle + c for r, c in product(rows[1], columns[1])]


@given(literals, brackets())
def test_expand_agrees_with_clustershell(head: str, numbers: tuple[str, list[str]]) -> None:
    expression = f"x{head}x{numbers[0]}"
    assert set(expand(expression)) == set(NodeSet(expression, resolver=RESOLVER_NOGROUP))


@given(st.text("ab[]0123-,/ :٣\x1b", max_size=30))
def test_expand_of_any_text_is_names_or_a_value_error(text: str) -> None:
    try:
        names = expand(text, limit=50)
    except ValueError:
        return
    assert len(names) <= 50
    assert not any(set("[],") & set(name) for name in names)


def test_fold_returns_one_expression() -> None:
    assert fold(["n1", "gpu-a", "n2", "n2", "n10"]) == "gpu-a,n[1-2,10]"
