"""`orch logs`: past output, from the folder of a run alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator import events
from tests.ui.screens import Terminal, terminal

from .fake_run import T0, FakeRun, killing_its_controller
from .orch import Orch


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """A run that has ended; n1's clock is ten seconds ahead."""
    run = FakeRun(tmp_path, skews={"n0": 0.0, "n1": 10.0})
    run.write(0, "step 1\n", 1.0)
    run.write(2, "step 1\n", 11.5)
    run.write(1, "a warning\n", 2.0, "stderr")
    run.write(0, "step 2\n", 3.0)
    run.write(2, "step 2\n", 13.5)
    run.write(3, "last words", 14.0)
    return run.end()


EVERYTHING = [
    "r0 n0 │ step 1",
    "r2 n1 │ step 1",
    "r1 n0 │ a warning",
    "r0 n0 │ step 2",
    "r2 n1 │ step 2",
    "r3 n1 │ last words",
]


def test_logs_are_in_the_order_of_corrected_clocks(orch: Orch, run: FakeRun) -> None:
    done = orch("logs")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (EVERYTHING, "", 0)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--rank", "0,3"], [0, 3, 5]),
        (["--nodes", "n1"], [1, 4, 5]),
        (["--nodes", "n[0-1]", "--stderr"], [2]),
        (["--stdout", "--rank", "1"], []),
        (["--stdout", "--stderr"], [0, 1, 2, 3, 4, 5]),
        (["--tail", "2"], [4, 5]),
        (["--tail", "0"], []),
        (["--tail", "1", "--rank", "0"], [3]),
        (["--grep", "step"], [0, 1, 3, 4]),
        (["--grep", "step 1|warn", "--tail", "2"], [1, 2]),
        (["--since", "2023-11-14T22:13:22.5Z"], [3, 4, 5]),
        (["--since", "1d"], []),
    ],
)
def test_logs_options_select_lines(
    orch: Orch, run: FakeRun, words: list[str], shown: list[int]
) -> None:
    done = orch("logs", *words)
    assert (done.stdout.splitlines(), done.stderr) == ([EVERYTHING[n] for n in shown], "")


def test_run_is_named_by_a_unique_prefix(orch: Orch, tmp_path: Path, run: FakeRun) -> None:
    other = FakeRun(tmp_path, "lusib-dodod")
    other.write(0, "another\n", 1.0)
    other.end()
    assert orch("logs").stdout == orch("logs", "latest").stdout == "r0 n0 │ another\n"
    assert orch("logs", "lusa").stdout.splitlines() == EVERYTHING
    done = orch("logs", "lus")
    assert done.returncode == 2
    assert "'lus' may be any of lusab-babad, lusib-dodod" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "there is no run 'nosuch'"),
        (["--rank", "4"], "--rank 4: run lusab-babad has ranks 0-3"),
        (["--rank", "x"], "--rank x: "),
        (["--nodes", "m1"], "--nodes m1: run lusab-babad has no node 'm1'"),
        (["--nodes", "n[0"], "--nodes 'n[0': expected a closing bracket"),
        (["--since", "yore"], "--since: 'yore' is not a moment"),
        (["--grep", "("], "--grep: '(' is not a regular expression"),
        (["--highlight", "["], "--highlight: '[' is not a regular expression"),
    ],
)
def test_selection_outside_of_the_run_is_a_usage_error(
    orch: Orch, run: FakeRun, words: list[str], message: str
) -> None:
    done = orch("logs", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_raw_output_is_the_stored_bytes(orch: Orch, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000 + b"\rno newline at the end"
    run = FakeRun(tmp_path)
    for start in range(0, len(data), 70_000):
        run.write(3, data[start : start + 70_000], start / 1e6)
        run.write(0, b"noise\n", start / 1e6)
    run.end()
    words = ("logs", "--rank", "3", "--stdout", "--output", "raw")
    with (tmp_path / "output").open("wb") as file:
        assert orch(*words, streams={1: file.fileno()}).returncode == 0
    assert (tmp_path / "output").read_bytes() == data == run.path(3).read_bytes()


def test_raw_output_keeps_the_two_streams_apart(orch: Orch, run: FakeRun) -> None:
    done = orch("logs", "--output", "raw")
    assert done.stdout == "step 1\nstep 1\nstep 2\nstep 2\nlast words"
    assert done.stderr == "a warning\n"
    assert orch("logs", "--output", "raw", "--grep", "2$").stdout == "step 2\nstep 2\n"


def test_json_has_an_object_a_line(orch: Orch, run: FakeRun) -> None:
    first, *_, last = map(json.loads, orch("logs", "--output", "json").stdout.splitlines())
    assert first == {
        "t": T0 + 1.0, "rank": 0, "local_rank": 0, "node": "n0", "stream": "stdout", "text": "step 1",
    }  # fmt: skip
    assert (last["rank"], last["t"], last["text"]) == (3, T0 + 4.0, "last words")


def test_timestamps_are_by_the_local_clock(orch: Orch, run: FakeRun) -> None:
    times = [line.split()[0] for line in orch("logs", "--timestamps").stdout.splitlines()]
    assert times[:2] == ["2023-11-14T22:13:21.000Z", "2023-11-14T22:13:21.500Z"]


def test_fold_shows_identical_lines_of_ranks_once(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    for rank in range(4):
        run.write(rank, f"[rank{rank}]: ValueError: no\n", rank / 100, "stderr")
    run.end()
    assert len(orch("logs").stdout.splitlines()) == 4
    assert orch("logs", "--fold").stdout == "r[0-3] ×4 2 nodes │ [rank*]: ValueError: no\n"


def test_fold_shows_a_traceback_of_63_ranks_once_beside_a_different_one(
    orch: Orch, tmp_path: Path
) -> None:
    traceback = [
        "Traceback (most recent call last):",
        '  File "train.py", line 8, in <module>',
        "    main()",
        "RuntimeError: Connection closed by peer",
    ]
    run = FakeRun(tmp_path, nodes=32)
    for number, line in enumerate(traceback):
        for rank in range(64):
            said = "MemoryError" if rank == 63 and line is traceback[-1] else line
            run.write(rank, f"[rank{rank}]: {said}\n", number / 4 + rank / 1000, "stderr")
    run.end(1)
    shown = orch("logs", "--fold").stdout.splitlines()
    assert shown[:3] == [f"r[0-63] ×64 32 nodes │ [rank*]: {line}" for line in traceback[:3]]
    assert set(shown[3:]) == {
        f"r[0-62] ×63 32 nodes │ [rank*]: {traceback[-1]}",
        "r63 n31 │ [rank63]: MemoryError",
    }


def test_colour_of_a_node_does_not_depend_on_the_selection(orch: Orch, run: FakeRun) -> None:
    def colours(*words: str) -> dict[str, str]:
        """The colour of each node's name."""
        with terminal() as tty:
            streams = dict.fromkeys((1, 2), tty.descriptor)
            assert orch("logs", *words, streams=streams, TERM="xterm").returncode == 0
            rows = tty.look(0.2)
            found = {row.split()[1]: tty.screen.buffer[n][3].fg for n, row in enumerate(rows)}
        assert "default" not in found.values()
        return found

    both = colours()
    assert set(both) == {"n0", "n1"}
    assert both["n0"] != both["n1"]
    assert colours("--nodes", "n1") == colours("--rank", "3") == {"n1": both["n1"]}


def test_logs_on_a_terminal_fold_stderr_and_highlight_matches(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    for rank in range(4):
        run.write(rank, "step 1\n", 1.0 + rank / 100)
    for rank in range(4):
        run.write(rank, "no loss\n", 2.0 + rank / 100, "stderr")
    run.end()
    terminal = Terminal(80, 24)
    streams = dict.fromkeys((1, 2), terminal.descriptor)
    assert orch("logs", "--highlight", "l.ss", streams=streams, TERM="xterm").returncode == 0
    rows = terminal.look(0.2)
    assert rows[:4] == [f"r{rank} n{rank // 2} │ step 1" for rank in range(4)]
    assert rows[4:] == ["r[0-3] ×4 2 nodes │ no loss"]
    marked = [cell.data for cell in terminal.screen.buffer[4].values() if cell.reverse]
    assert "".join(marked) == "loss"


def test_followed_logs_of_an_ended_run_show_its_end(orch: Orch, run: FakeRun) -> None:
    done = orch("logs", "-f", "--tail", "1")
    assert (done.returncode, done.stdout) == (0, "r3 n1 │ last words\n")
    assert done.stderr.startswith("orch: ✓ run lusab-babad: all 4 ranks succeeded after 5.0 s\n")


def test_logs_without_a_reader_end_silently(tmp_path: Path, environment: dict[str, str]) -> None:
    run = FakeRun(tmp_path)
    for number in range(40):
        run.write(0, b"line\n" * 10_000, number)
    run.end()
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "r0 n0 │ line\n".encode()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_missing_logs_of_an_unreachable_node_are_reported(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "here\n", 1.0)
    run.end(1, missing=("n1",))
    done = orch("logs")
    assert (done.returncode, done.stdout) == (0, "r0 n0 │ here\n")
    assert "orch: n1: its last lines are missing here (127.0.0.1 port 1 refuses" in done.stderr


def test_logs_of_an_uncontrolled_run_start_a_controller_and_name_unreachable_nodes(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "here\n", 1.0)
    run.note(
        events.Started("lusab-babad", run.folder), events.Following("n0"), events.Following("n1")
    )
    run.leave()
    with killing_its_controller(run.folder):
        done = orch("logs")
        assert orch("runs").stdout.splitlines()[1].split()[:3] == ["lusab-babad", "running", "-"]
    assert (done.returncode, done.stdout) == (0, "r0 n0 │ here\n")
    assert "run lusab-babad had no controller; it has one again, in the background" in done.stderr
    now = time.strftime("%H:")
    for node in ("n0", "n1"):
        assert f"orch: {node} cannot be reached since {now}" in done.stderr


def test_pattern_with_endless_backtracking_is_an_error(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path, skews={"n0": 0.0, "n1": 0.0})
    run.write(0, "step 1\n" + "a" * 60 + "b\n", 1.0)
    run.end()
    done = orch("logs", "--grep", "(a+)+$")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'(a+)+$' takes too long" in done.stderr and "Traceback" not in done.stderr
