"""Programs of Slurm that fail, or are missing, end in one error with their own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import LaunchError
from orchestrator.slurm import commands
from orchestrator.slurm.commands import ask


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of this name, the first in PATH."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "scontrol"
    program.touch(mode=0o755)
    return program


def test_ask_returns_the_output(scontrol: Path) -> None:
    scontrol.write_text("#!/bin/sh\necho $1 $2\n")
    assert ask("scontrol", "show", "hostnames") == "show hostnames\n"


def test_ask_of_failing_program_raises_its_words_without_control_characters(scontrol: Path) -> None:
    scontrol.write_text(
        '#!/bin/sh\nprintf "scontrol: error: Invalid \\033[31mjob id\\n" >&2\nexit 1\n'
    )
    with pytest.raises(LaunchError) as caught:
        ask("scontrol", "show", "job", "1")
    assert caught.value.message == "scontrol: Invalid [31mjob id"


def test_ask_of_missing_program_says_where_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LaunchError, match="no scontrol on this machine"):
        ask("scontrol")


def test_ask_of_silent_program_raises_after_its_time(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "TIMEOUT", 0.2)
    scontrol.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(LaunchError, match=r"did not answer within 0\.2 s"):
        ask("scontrol")
