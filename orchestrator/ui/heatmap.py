"""A matrix of measurements between nodes: numbers for a few nodes, a heat map for many.

Rows are the source, columns the target. Values worse than usual stand out by their colour, and in a heat
map by their character too: the darker, the worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product, takewhile
from math import ceil
from typing import Literal

from rich.text import Text

Values = Mapping[tuple[str, str], float]
"""By (from, to)."""

Scale = tuple[str, float]
"""The name of a unit, and its size in the base unit."""

SECONDS: tuple[Scale, ...] = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
BYTES_PER_SECOND: tuple[Scale, ...] = (("Gb/s", 125e6), ("Mb/s", 125e3), ("kb/s", 125.0))

_MAX_NUMBERED = 12  # nodes that are shown with numbers
_MAX_LABEL = 4  # characters
_DIGITS = "0123456789"
_SELF, _UNKNOWN = "\\", " "
_CHARACTERS = (".", "o", "X", "#")
_STYLES = ("green", "yellow", "red", "bold red reverse")

# How many times worse than usual each step starts; a slow link matters sooner than a late packet.
_STEPS = {"low": (1.5, 3.0, 10.0), "high": (1.2, 2.0, 5.0)}


def heatmap(
    title: str,
    scales: Sequence[Scale],
    names: Sequence[str],
    values: Values,
    *,
    good: Literal["low", "high"],
    width: int,
) -> Text:
    """Return `values` as lines of at most `width` columns (40 or more); `.plain` is the text.

    `names` are the nodes, in order; `good` tells which values are good. The unit is the largest of the
    `scales` in which a usual value is at least 1.
    """
    ordered = sorted(values.values(), reverse=good == "high")
    # What a quarter of the pairs reach: one slow node of three is in most pairs, but not in all.
    usual = ordered[(len(ordered) - 1) // 4] if ordered else 0.0
    unit, scale = next((s for s in scales if usual >= s[1]), scales[-1])
    # Three digits, but no fractions of the smallest unit: nothing is measured that precisely.
    decimals = 0 if scale == scales[-1][1] else max(0, 3 - len(str(int(usual / scale))))
    heading = f"{title} in {unit}, from row to column; usual is {usual / scale:.{decimals}f}"
    text = Text(no_wrap=True).append(f"{heading}\n", "bold")
    numbers = {pair: f"{value / scale:.{decimals}f}" for pair, value in values.items()}
    heats = {pair: _heat(value, usual, good) for pair, value in values.items()}
    distinct = _distinct_parts(names)
    labels = distinct or [str(index) for index in range(len(names))]
    rows = list(names) if distinct else [f"{index} {name}" for index, name in enumerate(names)]
    margin = max(map(len, rows), default=0)
    cell = 2 + max(map(len, [*labels, *numbers.values()]), default=0)
    matrix = _Matrix(text, names, rows, labels, heats)
    if len(names) <= _MAX_NUMBERED and margin + len(names) * cell <= width:
        matrix.add_numbers(numbers, margin, cell)
    else:
        each = matrix.add_map(min(margin, max(_MAX_LABEL, width - len(names) - 1)), width)
        _add_legend(text, good)
        if each > 1:
            text.append(
                f"each is the worst of {each} x {each} pairs; --output json has all\n", "dim"
            )
    if len(values) < len(names) * (len(names) - 1):
        text.append("empty: not measured\n", "dim")
    return text


@dataclass(frozen=True)
class _Matrix:
    """Adds the pairs of `names` to `text`, with the headings `rows` and `labels`; `heats` are 0 to 3."""

    text: Text
    names: Sequence[str]
    rows: Sequence[str]
    labels: Sequence[str]
    heats: Mapping[tuple[str, str], int]

    def add_numbers(self, numbers: Mapping[tuple[str, str], str], margin: int, width: int) -> None:
        """Add the numbers in cells of this width, after a `margin` for the headings."""
        heads = "".join(f"{label:>{width}}" for label in self.labels)
        self.text.append(f"{'':{margin}}{heads}\n", "dim")
        for row, name in zip(self.rows, self.names, strict=True):
            self.text.append(f"{row:<{margin}}")
            for other in self.names:
                if (name, other) in numbers:
                    heat = self.heats[name, other]
                    style = _STYLES[heat] if heat else ""
                    self.text.append(f"{numbers[name, other]:>{width}}", style)
                else:
                    self.text.append(f"{_SELF if name == other else _UNKNOWN:>{width}}", "dim")
            self.text.append("\n")

    def add_map(self, margin: int, width: int) -> int:
        """Add a character for each pair, or for the worst of several; return for how many a side."""
        count = len(self.names)
        each = ceil(count / (width - margin - 1))
        blocks = [range(first, min(first + each, count)) for first in range(0, count, each)]
        heads = [self.labels[block[0]] for block in blocks]
        height = max(map(len, heads))
        for line in range(height):
            characters = "".join(f"{head:>{height}}"[line] for head in heads)
            self.text.append(f"{'':{margin + 1}}{characters}\n", "dim")
        for block, head in zip(blocks, heads, strict=True):
            row = self.rows[block[0]]
            self.text.append(f"{row if len(row) <= margin else head:<{margin}} ", "dim")
            for other in blocks:
                pairs = product((self.names[i] for i in block), (self.names[i] for i in other))
                heats = [self.heats[pair] for pair in pairs if pair in self.heats]
                if heats:
                    self.text.append(_CHARACTERS[max(heats)], _STYLES[max(heats)])
                else:
                    self.text.append(_SELF if block == other else _UNKNOWN, "dim")
            self.text.append("\n")
        return each


def _heat(value: float, usual: float, good: Literal["low", "high"]) -> int:
    """Return how much worse than usual a value is: 0 to 3."""
    worse, better = (value, usual) if good == "low" else (usual, value)
    return sum(worse > step * better for step in _STEPS[good])


def _add_legend(text: Text, good: Literal["low", "high"]) -> None:
    first, *others = (f"over {step:g} times" for step in _STEPS[good])
    labels = ["usual", f"{first} {'longer' if good == 'low' else 'slower'}", *others]
    for character, style, label in zip(_CHARACTERS, _STYLES, labels, strict=True):
        text.append(character, style)
        text.append(f" {label}" + ("\n" if label is labels[-1] else "   "))


def _distinct_parts(names: Sequence[str]) -> list[str] | None:
    """Return the part of each name that distinguishes it; None if one is too long."""
    before = len(_common_start(names).rstrip(_DIGITS))
    after = len(_common_start([name[before:][::-1] for name in names]).rstrip(_DIGITS))
    parts = [name[before : len(name) - after] for name in names]
    return parts if all(0 < len(part) <= _MAX_LABEL for part in parts) else None


def _common_start(texts: Sequence[str]) -> str:
    columns = zip(*texts, strict=False)
    return "".join(chars[0] for chars in takewhile(lambda chars: len(set(chars)) == 1, columns))
