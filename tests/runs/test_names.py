"""Names of runs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.runs.names import checked_name, matching, new_name


@pytest.mark.parametrize(
    ("script", "module", "said"),
    [
        ("train.py", False, "train"),
        ("/home/me/exp/train_model.py", False, "train_model"),
        ("src/gpt/__main__.py", False, "gpt"),
        ("train.v2.py", False, "train.v2"),
        ("run me!.sh", False, "run-me"),
        ("-x.py", False, "x"),
        ("モデル.py", False, "run"),
        ("", False, "run"),
        ("__main__.py", False, "run"),
        ("a" * 60 + ".py", False, "a" * 24),
        ("pkg.train", True, "train"),
        ("pkg.__main__", True, "pkg"),
    ],
)
def test_new_name_is_that_of_the_script(script: str, module: bool, said: str) -> None:
    name = new_name(script=script, module=module)
    assert re.fullmatch(re.escape(said) + r"-([bdfghj-np-tvz][aiou]){2}[a-z]", name)
    assert checked_name(name) == name


def test_new_names_of_one_script_differ() -> None:
    assert len({new_name(script="train.py") for _ in range(20)}) > 15


@given(script=st.text(max_size=80), module=st.booleans())
def test_new_name_of_any_script_is_valid(script: str, module: bool) -> None:
    name = new_name(script=script, module=module)
    assert checked_name(name) == name
    assert len(name) <= 30


NAMES = ["train-lusab", "train-babad", "train", "eval-lusip", "lusab-babad"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train", ["train"]),
        ("train-", ["train-lusab", "train-babad"]),
        ("ev", ["eval-lusip"]),
        ("lusip", ["eval-lusip"]),
        ("babad", ["train-babad", "lusab-babad"]),
        ("lusab", ["lusab-babad"]),
        ("val", []),
    ],
)
def test_matching_by_prefix_else_by_last_part(typed: str, meant: list[str]) -> None:
    assert matching(typed, NAMES) == meant


def test_new_name_starts_with_the_given_name() -> None:
    assert re.fullmatch(r"baseline-[a-z]{5}", new_name("baseline"))


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a b", "..", "é", "x" * 65])
def test_given_name_that_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        new_name(name)


@pytest.mark.parametrize("name", ["", "a;b", "../x", "-x", "a b", "a\n", "x" * 129])
def test_checked_name_refuses_invalid_names(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a run"):
        checked_name(name)


def test_checked_name_accepts_new_names() -> None:
    for name in (new_name(), new_name("x" * 64)):
        assert checked_name(name) == name
