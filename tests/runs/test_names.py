"""Names of runs."""

from __future__ import annotations

import re

import pytest

from orchestrator.errors import UsageError
from orchestrator.runs.names import new_name


def test_names_are_short_pronounceable_and_differ() -> None:
    names = {new_name() for _ in range(200)}
    assert len(names) == 200
    assert all(re.fullmatch(r"([bdfghj-np-tvz][aiou]){2}[a-z]-([a-z]{5})", name) for name in names)


def test_a_given_name_comes_first() -> None:
    assert re.fullmatch(r"baseline-[a-z]{5}", new_name("baseline"))


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a b", "..", "é", "x" * 65])
def test_a_name_that_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        new_name(name)
