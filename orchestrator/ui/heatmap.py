"""An N by N picture of what was measured between nodes: numbers for a few, a heat map for many.

Rows are where it goes from, columns where it goes to. What is worse than usual stands out by its
colour, and in a heat map by its character too: the darker, the worse.
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
"""A unit's name and what it is worth."""

SECONDS: tuple[Scale, ...] = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
BYTES_PER_SECOND: tuple[Scale, ...] = (("Gb/s", 125e6), ("Mb/s", 125e3), ("kb/s", 125.0))

_MOST_NUMBERS = 12  # nodes whose numbers one still reads
_LONGEST_LABEL = 4
_DIGITS = "0123456789"
_ITSELF, _UNKNOWN = "\\", " "
_CHARACTERS = (".", "o", "X", "#")
_STYLES = ("green", "yellow", "red", "bold red reverse")

# How many times worse than usual a step begins; a slow link matters sooner than a late packet.
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
    """Return a picture of `values` in lines of at most `width` (40 or more); its `plain` is the text.

    `names` are the nodes, in order; `good` says which end of the values is. It is written in the
    largest of the `scales` in which a usual value is at least 1.
    """
    return _Picture(names, values, good).text(title, scales, width)


@dataclass(frozen=True)
class _Picture:
    names: Sequence[str]
    values: Values
    good: Literal["low", "high"]

    def text(self, title: str, scales: Sequence[Scale], width: int) -> Text:
        unit, scale = next((s for s in scales if self.usual >= s[1]), scales[-1])
        # Three digits, but nothing was measured in less than the smallest unit.
        decimals = 0 if scale == scales[-1][1] else max(0, 3 - len(str(int(self.usual / scale))))
        said = {pair: f"{value / scale:.{decimals}f}" for pair, value in self.values.items()}
        heading = (
            f"{title} in {unit}, from row to column; usual is {self.usual / scale:.{decimals}f}"
        )
        text = Text(no_wrap=True).append(f"{heading}\n", "bold")
        cell = 2 + max(map(len, [*self.labels, *said.values()]), default=0)
        if len(self.names) <= _MOST_NUMBERS and self.margin + len(self.names) * cell <= width:
            self._add_numbers(text, said, cell)
        else:
            self._add_map(text, width)
        if len(self.values) < len(self.names) * (len(self.names) - 1):
            text.append("empty: not measured\n", "dim")
        return text

    @cached_property
    def usual(self) -> float:
        """What a quarter reach: of three nodes one slow one is in most pairs, but not in all."""
        ordered = sorted(self.values.values(), reverse=self.good == "high")
        return ordered[(len(ordered) - 1) // 4] if ordered else 0.0

    @cached_property
    def own(self) -> list[str] | None:
        """What each name has of its own, if that is short."""
        before = len(_beginning(self.names).rstrip(_DIGITS))
        after = len(_beginning([name[before:][::-1] for name in self.names]).rstrip(_DIGITS))
        own = [name[before : len(name) - after] for name in self.names]
        return own if all(0 < len(label) <= _LONGEST_LABEL for label in own) else None

    @cached_property
    def labels(self) -> list[str]:
        """What stands above each column: what its name has of its own, else its place."""
        return self.own or [str(place) for place in range(len(self.names))]

    @cached_property
    def rows(self) -> list[str]:
        """What stands before each row: its name, with its place if that stands above the column."""
        if self.own:
            return list(self.names)
        return [f"{place} {name}" for place, name in enumerate(self.names)]

    @cached_property
    def margin(self) -> int:
        return max(map(len, self.rows), default=0)

    def heat(self, value: float) -> int:
        """Return how bad a value is beside the usual one: 0 to 3."""
        worse, better = (value, self.usual) if self.good == "low" else (self.usual, value)
        return sum(worse > step * better for step in _STEPS[self.good])

    def _add_numbers(self, text: Text, said: Mapping[tuple[str, str], str], cell: int) -> None:
        text.append(" " * self.margin, "dim")
        text.append("".join(f"{label:>{cell}}" for label in self.labels) + "\n", "dim")
        for row, name in zip(self.rows, self.names, strict=True):
            text.append(f"{row:<{self.margin}}")
            for other in self.names:
                if (name, other) in said:
                    heat = self.heat(self.values[name, other])
                    text.append(f"{said[name, other]:>{cell}}", _STYLES[heat] if heat else "")
                else:
                    text.append(f"{_ITSELF if name == other else _UNKNOWN:>{cell}}", "dim")
            text.append("\n")

    def _add_map(self, text: Text, width: int) -> None:
        """One character a pair; where there is no room for that, one for the worst of a few."""
        count = len(self.names)
        margin = min(self.margin, max(_LONGEST_LABEL, width - count - 1))
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
                    text.append(_ITSELF if block == other else _UNKNOWN, "dim")
            text.append("\n")
        self._add_legend(text)
        if each > 1:
            text.append(
                f"each the worst of {each} x {each} pairs; --output json has them all\n", "dim"
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
        said = ["usual", f"{first} {word}", *others]
        for character, style, words in zip(_CHARACTERS, _STYLES, said, strict=True):
            text.append(character, style)
            text.append(f" {words}" + ("\n" if words is said[-1] else "   "))


def _beginning(names: Sequence[str]) -> str:
    """Return what all names begin with."""
    return "".join(
        each[0] for each in takewhile(lambda e: len(set(e)) == 1, zip(*names, strict=False))
    )
