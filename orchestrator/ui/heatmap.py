"""A matrix of measurements between nodes: numbers for a few nodes, a heat map for many.

Rows are the source, columns the target. Values worse than usual stand out by their colour, and in a heat
map by their character too: the darker, the worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
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
    return _Matrix(names, values, good).text(title, scales, width)


@dataclass(frozen=True)
class _Matrix:
    names: Sequence[str]
    values: Values
    good: Literal["low", "high"]

    def text(self, title: str, scales: Sequence[Scale], width: int) -> Text:
        unit, scale = next((s for s in scales if self.usual >= s[1]), scales[-1])
        # Three digits, but no fractions of the smallest unit: nothing is measured that precisely.
        decimals = 0 if scale == scales[-1][1] else max(0, 3 - len(str(int(self.usual / scale))))
        texts = {pair: f"{value / scale:.{decimals}f}" for pair, value in self.values.items()}
        heading = (
            f"{title} in {unit}, from row to column; usual is {self.usual / scale:.{decimals}f}"
        )
        text = Text(no_wrap=True).append(f"{heading}\n", "bold")
        cell = 2 + max(map(len, [*self.labels, *texts.values()]), default=0)
        if len(self.names) <= _MAX_NUMBERED and self.margin + len(self.names) * cell <= width:
            self._add_numbers(text, texts, cell)
        else:
            self._add_map(text, width)
        if len(self.values) < len(self.names) * (len(self.names) - 1):
            text.append("empty: not measured\n", "dim")
        return text

    @cached_property
    def usual(self) -> float:
        """The value that a quarter of the pairs reach: one slow node of three is in most pairs, but not in
        all.
        """
        ordered = sorted(self.values.values(), reverse=self.good == "high")
        return ordered[(len(ordered) - 1) // 4] if ordered else 0.0

    @cached_property
    def own(self) -> list[str] | None:
        """What distinguishes each name, if that is short."""
        before = len(_common_start(self.names).rstrip(_DIGITS))
        after = len(_common_start([name[before:][::-1] for name in self.names]).rstrip(_DIGITS))
        own = [name[before : len(name) - after] for name in self.names]
        return own if all(0 < len(label) <= _MAX_LABEL for label in own) else None

    @cached_property
    def labels(self) -> list[str]:
        """The heading of each column: what distinguishes its name, else its index."""
        return self.own or [str(index) for index in range(len(self.names))]

    @cached_property
    def rows(self) -> list[str]:
        """The heading of each row: its name, with its index if columns are headed by that."""
        if self.own:
            return list(self.names)
        return [f"{index} {name}" for index, name in enumerate(self.names)]

    @cached_property
    def margin(self) -> int:
        return max(map(len, self.rows), default=0)

    def heat(self, value: float) -> int:
        """Return how much worse than usual a value is: 0 to 3."""
        worse, better = (value, self.usual) if self.good == "low" else (self.usual, value)
        return sum(worse > step * better for step in _STEPS[self.good])

    def _add_numbers(self, text: Text, texts: Mapping[tuple[str, str], str], cell: int) -> None:
        text.append(" " * self.margin, "dim")
        text.append("".join(f"{label:>{cell}}" for label in self.labels) + "\n", "dim")
        for row, name in zip(self.rows, self.names, strict=True):
            text.append(f"{row:<{self.margin}}")
            for other in self.names:
                if (name, other) in texts:
                    heat = self.heat(self.values[name, other])
                    text.append(f"{texts[name, other]:>{cell}}", _STYLES[heat] if heat else "")
                else:
                    text.append(f"{_SELF if name == other else _UNKNOWN:>{cell}}", "dim")
            text.append("\n")

    def _add_map(self, text: Text, width: int) -> None:
        """Add one character per pair, or for the worst of several pairs if there is not enough room."""
        count = len(self.names)
        margin = min(self.margin, max(_MAX_LABEL, width - count - 1))
        each = ceil(count / (width - margin - 1))
        blocks = [range(first, min(first + each, count)) for first in range(0, count, each)]
        heads = [self.labels[block[0]] for block in blocks]
        tall = max(map(len, heads))
        for line in range(tall):
            text.append(" " * (margin + 1), "dim")
            text.append("".join(f"{head:>{tall}}"[line] for head in heads) + "\n", "dim")
        for block, head in zip(blocks, heads, strict=True):
            row = self.rows[block[0]]
            text.append(f"{row if len(row) <= margin else head:<{margin}} ", "dim")
            for other in blocks:
                heats = [self.heat(self.values[pair]) for pair in self._pairs(block, other)]
                if heats:
                    text.append(_CHARACTERS[max(heats)], _STYLES[max(heats)])
                else:
                    text.append(_SELF if block == other else _UNKNOWN, "dim")
            text.append("\n")
        self._add_legend(text)
        if each > 1:
            text.append(
                f"each is the worst of {each} x {each} pairs; --output json has all\n", "dim"
            )

    def _pairs(self, block: range, other: range) -> Iterator[tuple[str, str]]:
        """Yield the pairs from one block of nodes to another that have a value."""
        for row in block:
            for column in other:
                if (pair := (self.names[row], self.names[column])) in self.values:
                    yield pair

    def _add_legend(self, text: Text) -> None:
        word = "longer" if self.good == "low" else "slower"
        first, *others = (f"over {step:g} times" for step in _STEPS[self.good])
        labels = ["usual", f"{first} {word}", *others]
        for character, style, label in zip(_CHARACTERS, _STYLES, labels, strict=True):
            text.append(character, style)
            text.append(f" {label}" + ("\n" if label is labels[-1] else "   "))


def _common_start(texts: Sequence[str]) -> str:
    return "".join(
        chars[0]
        for chars in takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False))
    )
