"""What all commands share: where they are listed, how they end when nobody reads them any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .kept import KeptRun
from .orch import Orch


def test_what_a_command_does_fits_a_line_of_a_terminal(orch: Orch) -> None:
    commands = orch("--help").stdout.partition("Commands:\n")[2]
    assert "  launch     Run SCRIPT on every node and stream its output back.\n" in commands
    assert "..." not in commands
    assert max(map(len, commands.splitlines())) <= 80


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["status"],
            ["runs"],
            ["runs", "--output", "json"],
            ["logs"],
            ["logs", "--output", "raw"],
        ),
        *(["--help"], ["launch", "--help"]),
    ],
)
def test_a_command_whose_reader_has_seen_enough_ends_as_any_in_a_pipe(
    tmp_path: Path, environment: dict[str, str], words: list[str]
) -> None:
    run = KeptRun(tmp_path)
    run.say(0, "a line\n", 1.0)
    run.end()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            stdout=nobody, stderr=subprocess.PIPE, timeout=60, env=environment, cwd=tmp_path,
            check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
