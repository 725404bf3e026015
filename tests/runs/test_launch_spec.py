"""Launch specs as JSON and back, with secrets and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory import Main
from orchestrator.plan import Job
from orchestrator.plan.masking import MASK
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.masking import masked_spec
from tests.plan.helpers import host

SECRET = "a-value-that-nobody-is-to-see"


def spec(environment: dict[str, str], secrets: frozenset[str] = frozenset()) -> LaunchSpec:
    return LaunchSpec(
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


def back(spec: LaunchSpec) -> object:
    return decode(LaunchSpec, json.loads(json.dumps(encode(spec))))


@given(st.dictionaries(st.sampled_from(["A", "HF_TOKEN", "GIVEN"]), st.text()))
def test_spec_with_secrets_survives(environment: dict[str, str]) -> None:
    given_ = spec(environment, frozenset({"GIVEN"}))
    assert back(given_) == given_


def test_masked_spec_names_the_withheld_values() -> None:
    whole = spec({"HF_TOKEN": SECRET, "GIVEN": SECRET, "A": "1"}, frozenset({"GIVEN"}))
    masked = masked_spec(whole)
    assert SECRET not in json.dumps(encode(masked))
    assert back(masked) == masked
    assert masked.withheld == ("GIVEN", "HF_TOKEN")
    assert masked.job.environment == {"HF_TOKEN": MASK, "GIVEN": MASK, "A": "1"}
    # It cannot be completed from that.
    assert masked_spec(masked).withheld == ("GIVEN", "HF_TOKEN")


def test_secret_of_a_spare_is_withheld() -> None:
    plain = spec({})
    assert masked_spec(plain) == plain
    spare = host("s", env={"WANDB_API_KEY": SECRET})
    masked = masked_spec(LaunchSpec(plain.job, plain.hosts, (spare,)))
    assert SECRET not in json.dumps(encode(masked))
    assert masked.withheld == ("WANDB_API_KEY",)


def test_secret_arguments_are_withheld_by_their_options() -> None:
    arguments = ("--api-key", SECRET, f"--hf-token={SECRET}", f"pg://me:{SECRET}@db", "--lr", "3")
    url = f"redis://:{SECRET}@cache"
    whole = LaunchSpec(
        Job("t.py", arguments, launcher_arguments=(url,), environment={"URL": url}), ()
    )
    masked = masked_spec(whole)
    assert SECRET not in json.dumps(encode(masked))
    assert back(masked) == masked
    assert masked.withheld == (
        "--api-key", "--hf-token=***", "URL", "pg://me:***@db", "redis://:***@cache",
    )  # fmt: skip
    assert masked.job.arguments[-2:] == ("--lr", "3")
    assert back(whole) == whole


@pytest.mark.parametrize("described", [{}, {"job": {}}, [], None])
def test_invalid_launch_spec_is_refused(described: object) -> None:
    with pytest.raises(ValueError, match=r"is missing|expected dict"):
        decode(LaunchSpec, described)


@pytest.mark.parametrize(
    ("key", "value"), [("user", "$(id)"), ("proxy_jump", "a;b@gate"), ("address", "-oX=y")]
)
def test_record_with_a_user_or_host_for_a_shell_is_refused(key: str, value: str) -> None:
    described = encode(spec({}))
    described["hosts"][0][key] = value
    with pytest.raises(ValueError, match=rf"hosts\[0\]\.{key}: "):
        decode(LaunchSpec, described)
