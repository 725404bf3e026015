"""Whatever a rank, a node or a file says: no command passes on what a terminal would obey."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import events

from .fake_run import T0, FakeRun
from .orch import Orch

CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x61C, *range(0x200E, 0x2010))))
HOSTILE = (
    "\x1b]0;title\x07 \x1b[2J \x1b]52;c;AAAA\x1b\\ \x1bP+q\x1b\\ \x1b[31mred\x1b[0m "
    + CONTROLS.replace("\n", "").replace("\r", "")
    + "\u202a\u202e\u2066\u2069"
)
LINE = HOSTILE.encode() + b" \x9b2J \xff end\n"

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SGR = re.compile(r"\x1b\[[0-9;:]*m")

WHY = events.Explained(
    run="lusab-babad", how=HOSTILE, node="n0", rank=1, code=1, signal=None, after=1.0, error=HOSTILE,
    place=HOSTILE, signature="", meaning="", cause=HOSTILE, fix="", check="", evidence=HOSTILE,
    channel="stderr", lines=(HOSTILE,), victims=(0,), logs=Path("/logs"), command="orch logs",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """A run that has failed, of which everything that can be hostile is."""
    run = FakeRun(tmp_path)
    run.note(
        events.RankBegan(1, 1, "n0", 0, 101, T0),
        events.Warned(HOSTILE),
        events.NodeLost("n1", HOSTILE),
        events.RankEnded(1, "n0", 1, None, T0 + 3),
    )
    for channel in ("stdout", "stderr"):
        run.write(1, LINE * 3, 1.0, channel)
    run.write(1, b"RuntimeError: " + LINE, 2.0, "stderr")
    run.note(replace(WHY, logs=run.folder))
    return run.end(1, summary=f"rank 1 on n0 said {HOSTILE}")


@pytest.mark.parametrize(
    "command",
    [
        "logs", "logs --timestamps", "logs --fold", "logs --grep end", "logs --highlight end", "logs -f",
        "logs --output json", "status", "status --output json", "runs", "runs --output json", "diagnose",
        "diagnose --all", "diagnose --output json", "attach",
    ],
)  # fmt: skip
def test_output_to_a_pipe_has_no_control_sequences(orch: Orch, run: FakeRun, command: str) -> None:
    done = orch(*command.split())
    for shown in (done.stdout, done.stderr):
        assert not _OBEYED.search(_SGR.sub("", shown))
    assert done.stdout or command == "attach"
    assert "Traceback" not in done.stderr


def test_raw_output_is_every_byte(orch: Orch, tmp_path: Path, run: FakeRun) -> None:
    words = ("logs", "--output", "raw", "--stdout", "--rank", "1")
    with (tmp_path / "output").open("wb") as file:
        assert orch(*words, streams={1: file.fileno()}).returncode == 0
    assert (tmp_path / "output").read_bytes() == run.path(1).read_bytes() == LINE * 3


def test_output_of_exec_has_no_control_sequences(orch: Orch) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in LINE)
    done = orch("exec", "--local", "1", "--", "printf", octal)
    assert done.returncode == 0, done.stderr
    assert "^[]0;title^G" in done.stdout and "\x1b[31mred\x1b[0m" in done.stdout
    assert not _OBEYED.search(_SGR.sub("", done.stdout))
