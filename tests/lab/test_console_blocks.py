"""How the commands of a page are found, and when their output counts as what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from .console_blocks import commands, mismatch

PAGE = """
<!-- not run: it waits for a person -->
```console
$ orch ssh node0
```

```console
$ orch stop big
orch: run big-lusab has ended
$ orch runs
```
"""


def test_commands_of_a_page_have_their_line_their_output_and_why_they_are_not_run(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = list(commands(page))
    assert [each.words for each in found] == ["orch ssh node0", "orch stop big", "orch runs"]
    assert [each.number for each in found] == [4, 8, 10]
    assert [each.not_run for each in found] == ["it waits for a person", None, None]
    assert found[1].shown == ("orch: run big-lusab has ended",)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["run train-lusab: 3 nodes"], "run train-babad: 12 nodes\n"),
        (["took 5.1 s, 1.2 GB"], "took 2 min 3 s, 98 B\n"),
        (["files ~/exp: 4 files"], "files /tmp/x/exp: 6 files\n"),
        (["first", "…", "last"], "first\nbetween\nand more\nlast\n"),
        (["first", "…"], "first\n"),
        (["a  b"], "a      b   \n"),
        ([], "anything\n"),
    ],
)
def test_output_that_differs_in_numbers_paths_and_names_has_the_shape(
    shown: list[str], printed: str
) -> None:
    assert mismatch(tuple(shown), printed) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["all ranks succeeded"], "all ranks failed\n"),
        (["first", "last"], "first\nbetween\nlast\n"),
        (["first"], "first\nmore\n"),
        (["…", "last"], "first\n"),
        (["first", "second"], "second\nfirst\n"),
        (["3 nodes"], "three nodes\n"),
    ],
)
def test_output_with_other_words_or_lines_does_not_have_the_shape(
    shown: list[str], printed: str
) -> None:
    assert mismatch(tuple(shown), printed) is not None
