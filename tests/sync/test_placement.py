"""Answers of nodes about placed files are parsed, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import manifest
from orchestrator.sync import Entry, Tree
from orchestrator.sync.placement import Comparison, Seen, packed

ANSWER: dict[str, Any] = {
    "send": [[0, 2], [5, 6]], "delete": 1, "kept": ["a"], "left": [], "counts": [3, 0],
    "blocked": [["x", "y"]],
}  # fmt: skip
SEEN: dict[str, Any] = {
    **ANSWER, "workdir": "/w", "new": True, "passed": [["/o", ""]], "others": [], "run": "", "time": 0.0,
    "same": False, "done": False, "have": ["a.pt"], "identity": "",
}  # fmt: skip


def test_comparison_is_parsed() -> None:
    comparison = Comparison.parse(ANSWER)
    assert (comparison.send, comparison.kept_count, comparison.blocked) == (
        (range(2), range(5, 6)),
        3,
        (("x", "y"),),
    )
    assert not comparison.is_done
    assert Comparison.parse({**ANSWER, "send": [], "delete": 0, "blocked": []}).is_done


@pytest.mark.parametrize(
    "wrong",
    [
        {"send": [[0, 2], [1, 3]]},
        {"send": [[0, 200_000]] * 2},
        {"send": [[3, 3]]},
        {"send": [[4, 1]]},
        {"send": [[-1, 1]]},
        {"send": [[0]]},
        {"kept": [3]},
        {"counts": [1]},
        {"blocked": ["x"]},
        {"workdir": "relative"},
        {"workdir": "/a\0b"},
        {"others": "abc"},
        {"time": float("inf")},
        {"done": 1},
    ],
)
def test_invalid_answer_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        Seen.parse({**SEEN, **wrong})


def test_node_reads_the_listing_that_is_packed_here() -> None:
    entries = (
        Entry("a\udcff", "file", 3, 1_700_000_000_123_456_789, 0o644),
        Entry("b", "link", 0, 5, 0, "../\u2603"),
        Entry("c", "folder", 0, 0, 0o755),
    )
    found = manifest.unpack(packed(Tree(Path("/here"), entries)))
    assert found == [
        manifest.Entry(e.path, e.kind, e.size, e.mtime_ns, e.mode, e.target) for e in entries
    ]


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/./b", "", "a\0b", "a/.."])
def test_node_refuses_a_listing_that_leads_out(path: str) -> None:
    tree = Tree(Path("/here"), (Entry(path, "file", 1, 1, 1),))
    with pytest.raises(ValueError, match="not a path"):
        manifest.unpack(packed(tree))
