"""What a shell completes words to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.complete import checks
from orchestrator.preflight.registry import CHECKS

from .fake_run import FakeRun
from .orch import Complete


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("launch --launcher f", ["fabric"]),
        ("nodes --transport ss", ["ssh"]),
        ("launch --nodes g", ["gpu0", "gpu1", "gpu9"]),  # a spare can be named too
        ("exec --exclude gpu0,", ["gpu0,gpu1", "gpu0,node7", "gpu0,gpu9"]),
        ("nodes -i other.yaml --nodes o", ["other"]),
        ("nodes -i missing.yaml --nodes g", []),
        ("nodes -i broken.yaml --nodes g", []),
        ("stop tr", ["train-lusab"]),
        ("control tr", ["train-lusab"]),
        ("logs train --nodes n", ["n0", "n1"]),
        ("stacks --nodes n0,", ["n0,n1"]),
        ("stacks nothing --nodes n", []),
        ("preflight --only host.or", ["host.orphans"]),
        ("preflight --only net,cl", ["net,clock"]),
    ],
)
def test_word_is_completed_to_what_exists(
    tmp_path: Path, complete: Complete, line: str, expected: list[str]
) -> None:
    (tmp_path / "hosts.yaml").write_text(
        "hosts: ['gpu[0-1]', root@node7, {name: gpu9, spare: true}]\n"
    )
    (tmp_path / "other.yaml").write_text("hosts: [other]\n")
    (tmp_path / "broken.yaml").write_text("hosts: [\n")
    FakeRun(tmp_path, "train-lusab").end()
    assert complete(line) == expected


def test_installed_command_completes_words(environment: dict[str, str]) -> None:
    asked = {"_ORCH_COMPLETE": "complete_bash", "COMP_WORDS": "orch sta", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("orch")],
        capture_output=True, text=True, check=True, timeout=60, env={**environment, **asked},
    )  # fmt: skip
    assert done.stdout.split() == ["status", "stacks"]


def test_checks_are_completed_to_all_that_exist() -> None:
    assert {check.id for check in CHECKS} <= set(checks(""))
    assert all(each.startswith("gpu") for each in checks("gpu"))
