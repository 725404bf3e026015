"""Show what `orch prepare` found on the hosts; hosts in the same state share an entry."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.inventory.ranges import fold
from orchestrator.provision.steps import VENV
from orchestrator.ui.terminal import printable
from orchestrator.util.quoting import line_to_paste

if TYPE_CHECKING:
    from orchestrator.provision.hosts import HostState

_INDENT = "    "


def report(states: Sequence[HostState], width: int) -> str:
    """Return the state of each host, and the commands that prepare it or the problem."""
    groups: dict[tuple[object, ...], list[HostState]] = {}
    for state in states:
        groups.setdefault((str(state.facts), state.todo, state.problem), []).append(state)
    lines: list[str] = []
    for group in groups.values():
        lines += _entry(fold(state.host.name for state in group), group[0], width)
    return "".join(f"{line}\n" for line in lines)


def _entry(names: str, state: HostState, width: int) -> Iterator[str]:
    what = "" if state.facts is None else printable(str(state.facts))
    if state.problem is not None:
        text = f"✗ {names}: {printable(state.problem)}" + (f" ({what})" if what else "")
        yield from _wrapped(text, width)
    elif state.todo:
        yield from _wrapped(f"! {names}: {what}", width)
        for step in state.todo:
            if step.note:
                yield f"{_INDENT}# {step.note}"
            yield _INDENT + line_to_paste(step.argv)  # a command to paste is never wrapped
    else:
        yield from _wrapped(f"✓ {names}: ready: {what}", width)


def other_python(source: Path | str, width: int) -> str:
    """Return what to write into the inventory so that hosts get a Python of their own."""
    file = printable(str(source))
    text = f"orch does not change a system's own Python. Name one for it to create in {file}:"
    return "".join(
        f"{line}\n" for line in [*_wrapped(text, width, ""), "  defaults:", f"    python: {VENV}"]
    )


def _wrapped(text: str, width: int, indent: str = _INDENT) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
