"""Commands in the documentation, with the output shown, and a check that real output has that shape.

In a `console` block, a line that starts with `$ ` is a command; the lines up to the next are its output.
`…` stands for any number of lines. Numbers, durations, sizes, paths and the five letters of a run's name
may differ. A comment `<!-- not run: WHY -->` before a block says that it is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\n)?^```console\n(?P<text>.*?)^```$", re.M | re.S
)
_TOKEN = re.compile(
    r"(?P<duration>\d[\d.,]* (?:d|h|min|s)\b(?: \d[\d.,]* (?:h|min|s)\b)*)"
    r"|(?P<size>\d[\d.,]* [kMGT]?B\b)"
    r"|(?P<run>(?<=-)lusab\b)"
    r"|(?P<path>(?:(?<=[\s:])|^)[~/][^\s:,]*)"
    r"|(?P<number>\d[\d.,:]*\d|\d)"
    r"|(?P<space> +)"
)
_ALLOWED = {
    "duration": r"\d[\d.,]* (?:d|h|min|s)\b(?: \d[\d.,]* (?:h|min|s)\b)*",
    "size": r"\d[\d.,]* [kMGT]?B",
    "run": "[a-z]{5}",
    "path": r"[~/]\S*",
    "number": r"\d[\d.,:]*",
    "space": " +",
}


@dataclass(frozen=True)
class Command:
    """A command on line `number` of `page`, with the output shown for it."""

    page: Path
    number: int
    words: str
    shown: tuple[str, ...]
    not_run: str | None

    @property
    def fails(self) -> bool:
        """Whether the page shows it failing."""
        return any("✗" in line for line in self.shown)


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        number = text.count("\n", 0, block.start("text")) + 1
        words, first = "", number
        shown: list[str] = []
        for line in [*block["text"].splitlines(), "$ "]:
            if line.startswith("$ "):
                if words:
                    yield Command(page, first, words, tuple(shown), block["why"])
                words, shown, first = line[2:], [], number
            else:
                shown.append(line)
            number += 1


def mismatch(shown: tuple[str, ...], printed: str) -> str | None:
    """Return the first shown line that `printed` lacks in that place; None if all are there."""
    if not shown:
        return None
    lines = [line.rstrip() for line in printed.splitlines()]
    at, may_skip = 0, False
    for line in shown:
        if line.strip() == "…":
            may_skip = True
            continue
        pattern = re.compile(_pattern(line))
        while may_skip and at < len(lines) and not pattern.fullmatch(lines[at]):
            at += 1
        if at >= len(lines) or not pattern.fullmatch(lines[at]):
            return line
        at, may_skip = at + 1, False
    return None if may_skip or at == len(lines) else f"(the end, before {lines[at]!r})"


def _pattern(line: str) -> str:
    pattern, end = "", 0
    for token in _TOKEN.finditer(line.rstrip()):
        pattern += re.escape(line[end : token.start()])
        pattern += _ALLOWED[str(token.lastgroup)]
        end = token.end()
    return (pattern + re.escape(line.rstrip()[end:])).replace("…", ".*")
