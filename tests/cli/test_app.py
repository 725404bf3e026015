"""What all commands share: where they are listed, how they end when nobody reads them any more."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from orchestrator.cli.commands import ELSEWHERE

from .fake_run import FakeRun
from .orch import Orch


def test_summary_of_each_command_fits_a_line_of_80_columns(orch: Orch) -> None:
    shown = orch("--help").stdout
    assert "Launch:\n  launch     Run SCRIPT on every node and stream its output back.\n" in shown
    assert "..." not in shown.partition("Launch:")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("command", ["launch", "logs", "preflight", "fetch"])
def test_group_of_options_fits_a_screen_of_80_columns(orch: Orch, command: str) -> None:
    shown = orch(command, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("Examples:") < shown.index("Arguments:") < shown.index("More:")
    assert max(part.count("\n") for part in shown.split("\n\n")) <= 24


@pytest.fixture
def ended_run(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "a line\n", 1.0)
    run.end()


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "runs",
        "runs --output json",
        "logs",
        "logs --output raw",
        "--help",
        "launch --help",
    ],
)
@pytest.mark.usefixtures("ended_run")
def test_command_without_a_reader_ends_with_sigpipe(
    orch: Orch, new_python: Orch, words: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = new_python if words == "status" else orch  # also the end of a whole Python
    done = run(*words.split(), streams={1: writing})
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


FULL = Path("/dev/full")
# A test has no shell among its parents that Typer could find: then the option takes the shell's name.
NO_DETECTION = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize(
    "words",
    [
        "runs",
        "runs --output json",
        "runs --quiet",
        "status",
        "logs",
        "logs --output raw",
        "diagnose",
        "nodes --local 1",
        "exec --local 1 -- echo hello",
        "launch --local 1 --dry-run x.py",
        "preflight --local 1 --only ssh.reach",
        "init -o - node0",
        "--version",
        "--help",
        "--show-completion bash",
    ],
)
@pytest.mark.usefixtures("ended_run")
def test_output_that_cannot_be_written_is_reported_as_that(
    orch: Orch, new_python: Orch, tmp_path: Path, words: str
) -> None:
    (tmp_path / "x.py").touch()
    reports = tmp_path / "reports"
    reports.mkdir()
    run = new_python if words in ("runs", "--help") else orch  # also the end of a whole Python
    with FULL.open("wb") as full:
        more = {**NO_DETECTION, "TMPDIR": str(reports)}
        done = run(*words.split(), streams={1: full.fileno()}, **more)
    assert done.returncode not in (0, 120)
    assert "the output cannot be written: No space left on device" in done.stderr
    for unwanted in ("bug", "Traceback", "Exception ignored"):
        assert unwanted not in done.stderr
    assert not list(reports.iterdir())


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["ps"], "orch runs"),
        (["ls"], "orch runs"),
        (["list"], "orch runs"),
        (["kill"], "orch stop"),
        (["cancel", "train-lusab"], "orch stop"),
        (["cp", "a", "b"], "orch fetch (from the nodes) or orch push (to them)"),
        (["version"], "orch --version"),
        (["help"], "orch --help"),
        (["help", "launch"], "orch launch --help"),
        (["train.py", "--lr", "1 2"], "orch launch train.py --lr '1 2'"),
        (["lanch"], "'launch'"),
    ],
)
def test_unknown_command_suggests_the_one_likely_meant(
    orch: Orch, words: list[str], meant: str
) -> None:
    done = orch(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"No such command '{words[0]}'. Did you mean" in done.stderr
    assert meant in done.stderr


def test_every_suggested_command_exists(orch: Orch) -> None:
    help_text = orch("--help").stdout
    for meant in ELSEWHERE.values():
        for name in re.findall(r"orch ([a-z]+)", meant):
            assert f"\n  {name} " in help_text, meant


def test_short_option_shows_the_version(orch: Orch) -> None:
    assert orch("-V").stdout == orch("--version").stdout != ""


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "Is a directory"), (b"alias caf\xe9=ls\n", "the shell's start-up file is not UTF-8")],
)
def test_completion_that_cannot_be_installed_is_an_error_and_changes_nothing(
    orch: Orch, environment: dict[str, str], content: bytes | None, why: str
) -> None:
    start_up = Path(environment["HOME"]) / ".bashrc"
    if content is None:
        start_up.mkdir()
    else:
        start_up.write_bytes(content)
    done = orch("--install-completion", "bash", **NO_DETECTION)
    assert done.returncode == 1
    assert "completion is not installed: " in done.stderr and why in done.stderr
    assert "orch --show-completion" in done.stderr and "bug" not in done.stderr
    assert content is None or start_up.read_bytes() == content


def test_character_that_the_locale_lacks_is_no_failure(new_python: Orch) -> None:
    done = new_python("init", "-o", "-", "node0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_refusal_by_this_machine_is_not_reported_as_a_bug(
    orch: Orch, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: [n0]\n")
    home = Path(environment["HOME"])
    (home / ".ssh").write_text("a file where a folder should be")
    done = orch("nodes", "--connect-timeout", "0.1")
    assert "bug in orch" not in done.stderr
