"""The files that the patterns of a fetch select."""

from __future__ import annotations

import pytest

from orchestrator.sync.patterns import Patterns

FILES = ("last.pt", "train.log", "ckpt/1.pt", "ckpt/1.tmp", "ckpt/deep/2.pt", "runs/ckpt/3.pt")


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        ((), FILES),
        (("*.pt",), ("last.pt", "ckpt/1.pt", "ckpt/deep/2.pt", "runs/ckpt/3.pt")),
        (("ckpt/*",), ("ckpt/1.pt", "ckpt/1.tmp", "ckpt/deep/2.pt")),
        (("ckpt/",), ("ckpt/1.pt", "ckpt/1.tmp", "ckpt/deep/2.pt", "runs/ckpt/3.pt")),
        (("/ckpt",), ("ckpt/1.pt", "ckpt/1.tmp", "ckpt/deep/2.pt")),
        (("./ckpt/1.pt",), ("ckpt/1.pt",)),
        (("ckpt", "!*.tmp"), ("ckpt/1.pt", "ckpt/deep/2.pt", "runs/ckpt/3.pt")),
        (("train.log", "last.pt"), ("last.pt", "train.log")),
        (("**/deep/*",), ("ckpt/deep/2.pt",)),
        (("nothing",), ()),
        (("last.pt/",), ()),
    ],
)
def test_patterns_select_files(patterns: tuple[str, ...], selected: tuple[str, ...]) -> None:
    matcher = Patterns(patterns)
    assert tuple(file for file in FILES if matcher.match(file)) == selected


def test_name_that_is_not_utf_8_is_matched() -> None:
    assert Patterns(("*.pt",)).match("\udcff.pt")
    assert Patterns(("\udcff*",)).match("\udcff.pt")
