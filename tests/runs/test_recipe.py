"""What it takes to start a run again: as JSON and back, with secrets and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory import Main
from orchestrator.plan import Job
from orchestrator.plan.paste import MASK
from orchestrator.runs.recipe import Recipe
from tests.plan.helpers import host

SECRET = "a-value-that-nobody-is-to-see"


def recipe(environment: dict[str, str], secrets: frozenset[str] = frozenset()) -> Recipe:
    return Recipe(
        job=Job(
            "train.py", ("--lr", "3"), launcher="direct", devices="auto", main_port=29501,
            environment=environment, secrets=secrets,
        ),
        hosts=(host("a", port=2222, devices=4), host("b", env={"SEEN": "yes"})),
        spares=(host("s", spare=True),),
        main=Main(address="10.0.0.1"),
        source=Path("/job"),
        script=Path("/job/train.py"),
        preflight=False,
        restarts=3,
    )  # fmt: skip


@given(st.dictionaries(st.sampled_from(["A", "HF_TOKEN", "GIVEN"]), st.text()))
def test_with_its_secrets_all_of_it_comes_back(environment: dict[str, str]) -> None:
    given_ = recipe(environment, frozenset({"GIVEN"}))
    assert Recipe.parse(json.loads(json.dumps(given_.describe(secrets=True)))) == given_


def test_without_them_it_says_which_values_it_lacks() -> None:
    whole = recipe({"HF_TOKEN": SECRET, "GIVEN": SECRET, "A": "1"}, frozenset({"GIVEN"}))
    text = json.dumps(whole.describe(secrets=False))
    assert SECRET not in text
    back = Recipe.parse(json.loads(text))
    assert back.withheld == ("GIVEN", "HF_TOKEN")
    assert back.job.environment == {"HF_TOKEN": MASK, "GIVEN": MASK, "A": "1"}
    # Who has it only so cannot make it whole again.
    assert Recipe.parse(back.describe(secrets=True)).withheld == ("GIVEN", "HF_TOKEN")


def test_the_secret_of_a_spare_counts_too() -> None:
    plain = recipe({})
    assert Recipe.parse(plain.describe(secrets=False)) == plain
    spare = host("s", env={"WANDB_API_KEY": SECRET})
    described = Recipe(plain.job, plain.hosts, (spare,)).describe(secrets=False)
    assert SECRET not in json.dumps(described)
    assert described["withheld"] == ["WANDB_API_KEY"]


def test_hosts_may_be_elsewhere_by_then() -> None:
    moved = recipe({}).at({"a": host("a", port=1), "s": host("s", port=2)})
    assert [(one.name, one.port) for one in (*moved.hosts, *moved.spares)] == [
        ("a", 1), ("b", None), ("s", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("described", [{}, {"job": {}}, [], None])
def test_what_is_no_recipe_is_refused(described: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Recipe.parse(described)  # type: ignore[arg-type]
