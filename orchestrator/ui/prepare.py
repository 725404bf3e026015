"""What `orch prepare` says of the hosts: hosts that are alike together, in lines that fit a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.inventory.ranges import fold
from orchestrator.ui.terminal import printable
from orchestrator.util.quoting import line_to_paste

if TYPE_CHECKING:
    from orchestrator.provision.hosts import State

_INDENT = "    "


def report(states: Sequence[State], width: int) -> str:
    """Return what each host is, and which commands make it ready or what is in the way."""
    alike: dict[tuple[object, ...], list[State]] = {}
    for state in states:
        alike.setdefault((str(state.found), state.todo, state.problem), []).append(state)
    lines: list[str] = []
    for group in alike.values():
        lines += _of(fold(state.host.name for state in group), group[0], width)
    return "".join(f"{line}\n" for line in lines)


def _of(names: str, state: State, width: int) -> Iterator[str]:
    what = "" if state.found is None else printable(str(state.found))
    if state.problem is not None:
        said = f"✗ {names}: {printable(state.problem)}" + (f" ({what})" if what else "")
        yield from _folded(said, width)
    elif state.todo:
        yield from _folded(f"! {names}: {what}", width)
        for step in state.todo:
            if step.note:
                yield f"{_INDENT}# {step.note}"
            yield _INDENT + line_to_paste(step.argv)  # to be pasted: never folded
    else:
        yield from _folded(f"✓ {names}: ready: {what}", width)


def other_python(source: Path | str, python: str, width: int) -> str:
    """Return what to write into the inventory so that hosts get a Python of their own."""
    said = f"A Python of the system is left as it is. In {printable(str(source))}, name one to be made:"
    return "".join(
        f"{line}\n" for line in [*_folded(said, width, ""), "  defaults:", f"    python: {python}"]
    )


def _folded(text: str, width: int, indent: str = _INDENT) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
