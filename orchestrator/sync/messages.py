"""Messages about a push: files that are kept on nodes, and the folders of projects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from orchestrator.sync.placement import Comparison, Seen
from orchestrator.util.text import counted, first_few, printable

T = TypeVar("T")

_MAX_FILES = 3  # named in a message


def kept_lines(comparisons: Mapping[str, Comparison]) -> Iterator[str]:
    """Yield lines about files that are kept on nodes; nodes with the same line share it."""
    changed = {node: _named(c.kept, c.kept_count) for node, c in comparisons.items()}
    for files, nodes in _by_value(changed):
        yield f"kept on {nodes}: {files} (changed there since); --overwrite sends yours"
    gone = {node: _named(c.left, c.left_count) for node, c in comparisons.items()}
    for files, nodes in _by_value(gone):
        yield f"kept on {nodes}: {files} (deleted here, changed there since)"


def folder_lines(seen: Mapping[str, Seen]) -> Iterator[str]:
    """Yield a line for each new folder of a project whose usual names are taken."""
    new = {node: (s.workdir, s.passed) for node, s in seen.items() if s.is_new and s.passed}
    for (workdir, passed), nodes in _by_value(new):
        path, source = (printable(text) for text in passed[-1])
        taken = f"belongs to {source}" if source else "existed before and has no known owner"
        yield (
            f"{nodes}: this project's folder is {printable(workdir)}: {path} {taken} "
            f"(to use it anyway: `workdir: {path}` in the inventory)"
        )


def _named(names: tuple[str, ...], count: int) -> str:
    """Return the first names of `count` files, and how many more there are."""
    shown = names[:_MAX_FILES]
    more = [f"and {counted(count - len(shown), 'more file')}"] if count > len(shown) else []
    return " ".join([", ".join(map(printable, shown)), *more])


def _by_value(by_node: Mapping[str, T]) -> Iterator[tuple[T, str]]:
    """Yield each value that is not empty, with its nodes."""
    groups: dict[T, list[str]] = {}
    for node, value in by_node.items():
        if value:
            groups.setdefault(value, []).append(node)
    for value, nodes in groups.items():
        yield value, first_few(nodes)
