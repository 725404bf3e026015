"""What a person is told of a push: what stays as it is on a node, and whose folders are whose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from orchestrator.sync.placement import Seen, Verdict
from orchestrator.util.text import printable

T = TypeVar("T")

_NAMED = 3  # files, or nodes, of which a line tells the names


def kept_lines(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Yield a line for all nodes, by name, of which the same is to be said of files that stay there."""
    kept = {n: (v.kept[:_NAMED], v.kept_count) for n, v in verdicts.items() if v.kept_count}
    for (names, count), nodes in _alike(kept):
        what = _some(names, count, "file")
        yield f"kept on {nodes}: {what} (changed there since); --overwrite sends yours"
    left = {n: (v.left[:_NAMED], v.left_count) for n, v in verdicts.items() if v.left_count}
    for (names, count), nodes in _alike(left):
        what = _some(names, count, "file")
        yield f"kept on {nodes}: {what} (gone here, changed there since)"


def folder_lines(seen: Mapping[str, Seen]) -> Iterator[str]:
    """Yield a line for each folder that a project has now because others have the names before it."""
    new = {node: (s.workdir, s.passed) for node, s in seen.items() if s.is_new and s.passed}
    for (workdir, passed), nodes in _alike(new):
        path, source = passed[-1]
        what = f"is that of {printable(source)}" if source else "was there before, and is nobody's"
        yield (
            f"{nodes}: this project's folder is {printable(workdir)}: {printable(path)} {what} "
            f"(to use it all the same: `workdir: {printable(path)}` in the inventory)"
        )


def some_nodes(names: Sequence[str]) -> str:
    """Return a few names of nodes, and how many more there are."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} others"


def _alike(by_node: Mapping[str, T]) -> Iterator[tuple[T, str]]:
    """Yield each thing that is said of nodes, and of which."""
    groups: dict[T, list[str]] = {}
    for node, said in by_node.items():
        groups.setdefault(said, []).append(node)
    for said, nodes in groups.items():
        yield said, some_nodes(nodes)


def _some(names: Iterable[str], count: int, what: str) -> str:
    shown = [printable(name) for name in names]
    more = count - len(shown)
    text = ", ".join(shown)
    return text if more <= 0 else f"{text} and {more} more {what}{'s' if more > 1 else ''}"
