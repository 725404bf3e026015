"""The console: output and messages in order, the panel below them, and no waiting for slow readers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.logs.stream import Stream
from orchestrator.plan import Job, Plan
from orchestrator.ui.console import Console, View

from ..preflight.contexts import make_context
from .screens import Terminal, redirected, terminal


@pytest.fixture(autouse=True)
def _usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@contextmanager
def on_terminal() -> Iterator[Terminal]:
    """Yield a terminal that is this process's stdout and stderr."""
    with terminal() as made, redirected(stdout=made.descriptor, stderr=made.descriptor):
        yield made


def plan(nodes: int = 2, devices: int = 2) -> Plan:
    return make_context(nodes, job=Job("train.py", devices=devices)).plan


class Source:
    """A rank that prints, or a launcher (None); its output is in `copy`."""

    def __init__(self, folder: Path, rank: int | None = 0, node: str = "node0") -> None:
        self.stream = Stream(node, 0, rank, 0, "stdout")
        self.copy = folder / f"{node}-rank-{rank}.out"
        self.copy.touch()

    def prints(self, text: str) -> events.Output:
        data = text.encode()
        offset = self.copy.stat().st_size
        with self.copy.open("ab") as file:
            file.write(data)
        return events.Output(self.stream, offset, data, 0.0, self.copy)


def started(console: Console, nodes: int = 2) -> None:
    made = plan(nodes)
    console(events.PhaseBegan("connect", tuple(node.name for node in made.nodes)))
    console(events.PhaseEnded("connect", 0.5))
    console(events.Planned(made))
    console(events.Started(made.run, Path("/tmp/run")))


def ended(code: int = 0) -> events.Ended:
    return events.Ended("a-run", code, 1.5, "all 4 ranks succeeded", Path("/tmp/run"))


def test_panel_is_below_the_output_and_removed_at_the_end(tmp_path: Path) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        source = Source(tmp_path)
        for step in range(100):
            console(source.prints(f"step {step}\n"))
        rows = tty.wait_for(lambda rows: rows[-1].startswith("node1"))
        assert rows[-4] == "r0 node0 │ step 99"
        assert rows[-3].startswith("── ")
        assert "Ctrl-C stops" in rows[-3]
        assert "running" in rows[-2]
        console(ended())
        closing = threading.Thread(target=console.close)
        closing.start()
        rows = tty.wait_for(lambda rows: rows[-1].startswith("      logs:"))
        closing.join()
        assert rows[-2] == "orch: ✓ run a-run: all 4 ranks succeeded after 1.5 s"
        lines = tty.everything
        assert not any(line.startswith("── ") for line in lines)
        assert [line for line in lines if "step" in line] == [
            f"r0 node0 │ step {step}" for step in range(100)
        ]


def test_restart_replaces_the_panel_by_the_phases(tmp_path: Path) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        console(events.RankEnded(1, "node0", 3, None, 1.0))
        console(events.Restarting(2, 3, "rank 1 on node0 exited with 3"))
        console(events.PhaseBegan("connect", ("node0", "node1")))
        tty.wait_for(lambda rows: rows[-1].startswith("connect"))
        assert not any(line.startswith("node1 ") for line in tty.everything)
        started(console)
        tty.wait_for(lambda rows: rows[-1].startswith("node1"))
        console(events.RankEnded(0, "node0", 4, None, 1.0))
        console(ended(4))
        closing = threading.Thread(target=console.close)
        closing.start()
        tty.wait_for(lambda rows: rows[-1].startswith("      logs:"))
        closing.join()
        said = [line for line in tty.everything if line.startswith("orch: ra")]
        assert said == [
            "orch: rank 1 on node0 exited with 3",
            "orch: rank 1 on node0 exited with 3: restarting all ranks, attempt 2 of 3",
            "orch: rank 0 on node0 exited with 4",
        ]


def test_failure_after_ranks_were_restarted_is_reported_again() -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        for local in range(2):
            console(events.RankBegan(local, local, "node0", 0, 100 + local, 1.0))
        console(events.RankEnded(0, "node0", None, 9, 2.0))
        console(events.RankEnded(1, "node0", 1, None, 2.0))  # follows from rank 0's
        console(events.NodeLeft("node1", "could not be reached for 60 s", 1, 2))
        for local in range(2):
            console(events.RankBegan(local, local, "node0", 0, 200 + local, 3.0))
        console(events.RankEnded(1, "node0", 7, None, 4.0))
        console(ended(7))
        closing = threading.Thread(target=console.close)
        closing.start()
        tty.wait_for(lambda rows: rows[-1].startswith("      logs:"))
        closing.join()
        said = [line for line in tty.everything if line.startswith(("orch: rank", "orch: node"))]
        assert said == [
            "orch: rank 0 on node0 was killed by SIGKILL",
            "orch: node1 could not be reached for 60 s; the run continues with 1 of 2 nodes,",
            "orch: rank 1 on node0 exited with 7",
        ]


def test_output_of_a_launcher_after_its_ranks_ended_is_not_shown(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    console = Console(View())
    started(console)
    launchers = [Source(tmp_path, None, f"node{number}") for number in range(2)]
    console(launchers[0].prints("both ranks run\n"))
    console(events.RankEnded(0, "node0", 0, None, 1.0))
    console(launchers[0].prints("one rank runs\n"))
    console(events.RankEnded(1, "node0", 0, None, 2.0))
    console(launchers[0].prints("Error waiting on exit barrier\n"))
    console(launchers[1].prints("the other node's ranks run\n"))
    console(ended())
    console.close()
    shown = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.partition(" │ ")[2] for line in shown] == [
        "both ranks run", "one rank runs", "the other node's ranks run",
    ]  # fmt: skip


def test_output_of_a_launcher_that_restarts_its_ranks_is_shown(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    console = Console(View())
    started(console)
    launcher = Source(tmp_path, None)
    for began in (100, 200):
        for rank in range(2):
            console(events.RankBegan(rank, rank, "node0", 0, began + rank, 1.0))
        console(launcher.prints(f"round {began}\n"))
        for rank in range(2):
            console(events.RankEnded(rank, "node0", 0, None, 2.0))
    console(launcher.prints("over\n"))
    console(ended())
    console.close()
    shown = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.partition(" │ ")[2] for line in shown] == ["round 100", "round 200"]


def test_messages_and_output_keep_their_order(tmp_path: Path) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        source = Source(tmp_path)
        console(source.prints("before\n"))
        console(events.Warned("look here"))
        console(source.prints("after\n"))
        console(events.NodeLost("node1", "the connection broke"))
        console(events.NodeLost("node1", "the connection broke"))
        console(events.NodeBack("node1", 32.0))
        closing = threading.Thread(target=console.close)
        closing.start()
        rows = tty.wait_for(lambda rows: "nothing was lost" in "".join(rows))
        closing.join()
        assert rows[-5:-1] == [
            "r0 node0 │ before",
            "orch: warning: look here",
            "r0 node0 │ after",
            "orch: node1: the connection broke; the run continues there, reconnecting",
        ]
        assert rows[-1] == "orch: node1: reconnected after 32 s; nothing was lost"


@pytest.mark.parametrize("size", [(120, 40), (40, 24), (80, 8), (20, 24), (80, 3), (1, 1)])
def test_output_is_complete_after_resizing_the_terminal(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        source = Source(tmp_path)
        for step in range(10):
            console(source.prints(f"a {step}\n"))
        tty.wait_for(lambda rows: rows[-1].startswith("node1"))
        tty.resize(*size)
        tty.look(0.3)
        for step in range(10):
            console(source.prints(f"b {step}\n"))
        columns, lines = size
        tty.look(0.3)
        has_panel = any(row.startswith("── ") for row in tty.rows)
        assert has_panel == (columns >= 24 and lines >= 6)
        tty.resize(200, 50)
        tty.look(0.3)
        console(ended())
        closing = threading.Thread(target=console.close)
        closing.start()
        while closing.is_alive():
            tty.look(0.05)
        tty.look()
        assert not any(row.startswith("── ") for row in tty.rows)
        # The terminal itself cuts lines when it shrinks: check what it was sent.
        sent = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", tty.written).decode()
        assert re.findall(r"r0 node0 │ (\w \d)", sent) == [
            f"{x} {n}" for x in "ab" for n in range(10)
        ]


async def test_stopped_terminal_does_not_block_the_caller(tmp_path: Path) -> None:
    """Nothing reads the pty, as after Ctrl-S."""
    with on_terminal() as tty:
        longest = 0.0

        async def measure() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)

        measuring = asyncio.create_task(measure())
        console = Console(View())
        started(console)
        source = Source(tmp_path)
        for step in range(100):
            console(source.prints(f"step {step} " + "x" * 2000 + "\n"))
            console(events.Warned(f"warning {step}"))
            await asyncio.sleep(0.005)
        measuring.cancel()
        assert longest < 5  # a write would block until Ctrl-Q
        console(ended())
        closing = asyncio.create_task(asyncio.to_thread(console.close))
        while not closing.done():  # the user pressed Ctrl-Q
            await asyncio.to_thread(tty.look, 0.05)
        tty.look()
        lines = tty.everything
        assert [line for line in lines if "warning: " in line] == [
            f"orch: warning: warning {step}" for step in range(100)
        ]
        assert lines[-2].startswith("orch: ✓ run a-run")


def test_close_after_detach_does_not_wait_for_a_stopped_terminal(tmp_path: Path) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        console(Source(tmp_path).prints("line\n" * 100_000))
        console(events.Detached("a-run", "the terminal was closed"))
        began = time.monotonic()
        console.close()
        assert time.monotonic() - began < 10
        rows = tty.wait_for(lambda rows: "orch stop" in rows[-1])
        assert rows[-4:] == [
            "orch: run a-run continues in the background",
            "      orch attach a-run   to return to it",
            "      orch logs -f a-run  to follow its output",
            "      orch stop a-run     to stop it",
        ]
        assert all(row == "r0 node0 │ line" for row in rows[-8:-5])  # nothing was drawn over


def test_close_interrupted_by_a_signal_still_shows_the_end(
    tmp_path: Path,
) -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        console(Source(tmp_path).prints("line\n" * 300_000))
        console(ended())
        stop = threading.Event()

        def read_slowly() -> None:  # 80 kB/s
            while not stop.wait(0.05):
                os.read(tty.master, 4096)

        reading = threading.Thread(target=read_slowly)
        reading.start()
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            console.close()
        assert time.monotonic() - began < 5
        stop.set()
        reading.join()
        rows = tty.wait_for(lambda rows: rows[-1].startswith("      logs:"))
    assert rows[-2].startswith("orch: ✓ run a-run")
    assert not any(row.startswith("── ") for row in rows)


def test_stopped_stdout_pipe_does_not_delay_messages(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with terminal() as tty, redirected(stdout=writer, stderr=tty.descriptor):
        os.close(writer)
        console = Console(View())
        started(console)
        console(Source(tmp_path).prints("line\n" * 1_000_000))
        console(events.Warned("look here"))
        rows = tty.wait_for(lambda rows: "orch: warning: look here" in rows)
        assert not any(
            row.startswith("── ") for row in rows
        )  # lines of a pipeline would overwrite it
        assert any("Ctrl-C stops; Ctrl-\\ leaves it running" in row for row in rows)
        os.close(reader)
        console.close()


def test_output_without_a_terminal_has_no_panel_and_no_colour(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        redirected(stdout=stdout.fileno(), stderr=stderr.fileno()),
    ):
        console = Console(View())
        started(console)
        console(Source(tmp_path).prints("a line\n"))
        console(ended())
        console.close()
    assert out.read_text() == "r0 node0 │ a line\n"
    assert "\x1b" not in err.read_text()
    assert err.read_text().splitlines()[-1] == "      logs: /tmp/run/logs"


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_no_color_and_dumb_terminals_get_no_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    with on_terminal() as tty:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        console = Console(View())
        started(console)
        console(Source(tmp_path).prints("a line\n"))
        console(events.Warned("look here"))
        tty.look(0.5)
        console.close()
        tty.look(0.1)
        assert not re.search(rb"\x1b\[[0-9;]*m", tty.written)
        assert (b"\x1b" in tty.written) == (variables == {"NO_COLOR": "1"})


def test_panel_of_a_silent_run_is_redrawn_once_a_second() -> None:
    with on_terminal() as tty:
        console = Console(View())
        started(console)
        tty.wait_for(lambda rows: rows[-1].startswith("node1"))
        before = len(tty.written)
        tty.look(3.0)
        frames = tty.written[before:].count(b"\x1b[?2026h")
        assert 2 <= frames <= 5
        console.close()


def test_identical_stderr_lines_are_folded_on_a_terminal(tmp_path: Path) -> None:
    def show(view: View, columns: int = 80) -> list[str]:
        with on_terminal() as tty:
            console = Console(view)
            started(console)
            for rank, node in enumerate(("node0", "node0", "node1", "node1")):
                stream = Stream(node, 0, rank, rank % 2, "stderr")
                for text in (b"the same\n", b"of rank %d\n" % rank):
                    console(events.Output(stream, 0, text, 1.0, tmp_path))
            console.close()
            tty.look(0.1)
            return [row for row in tty.everything if "│" in row]

    assert show(View())[0] == "r[0-3] ×4 2 nodes │ the same"
    assert len(show(View())) == 5
    assert len(show(View(fold=False))) == 8
