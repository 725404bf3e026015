"""`orch exec`: on every node at once, line by line, and ended with the connection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .orch import Orch


def test_exec_runs_on_every_node_with_its_prefix(orch: Orch) -> None:
    done = orch("exec", "--local", "2", "--no-fold", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        "local0 │ err", "local0 │ out", "local1 │ err", "local1 │ out",
    ]  # fmt: skip


def test_equal_output_of_several_nodes_is_shown_once(orch: Orch) -> None:
    done = orch("exec", "--local", "3", "--", "sh", "-c", "echo out; printf unfinished")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "local[0-2] │ out\nlocal[0-2] │ unfinished\n"


def test_output_before_a_timeout_is_folded(orch: Orch) -> None:
    done = orch("exec", "--local", "2", "--timeout", "3", "--", "sh", "-c", "echo a; sleep 1000")
    assert (done.returncode, done.stdout) == (124, "local[0-1] │ a\n")


def test_exec_terminal_without_a_terminal_is_refused(orch: Orch) -> None:
    done = orch("exec", "--local", "2", "-t", "--", "true")
    assert done.returncode == 2
    assert "standard input is no terminal" in done.stderr


def test_shell_of_a_node_reads_standard_input(
    orch: Orch, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "input").write_text("pwd; exit 5\n")
    with (tmp_path / "input").open() as file:
        done = orch("ssh", "--local", "2", "local1", streams={0: file.fileno()})
    assert (done.returncode, done.stdout) == (5, f"{environment['HOME']}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--local", "2", "local[0-1]"], "is 2 nodes, and a terminal is on one"),
        (["--local", "2", "loca1"], "did you mean 'local1'?"),
        (["--local", "2", "--run", "x", "local1"], "leave out --inventory, --hosts and --local"),
        (["--run", "nothing-such", "local1"], "there is no run 'nothing-such'"),
    ],
)
def test_ssh_without_one_node_is_refused_with_a_remedy(
    orch: Orch, words: list[str], message: str
) -> None:
    done = orch("ssh", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_exec_gets_words_unchanged(orch: Orch) -> None:
    words = ["$HOME", "a  b", "it's", "*", "-i", "é\nsecond line"]
    done = orch("exec", "--local", "1", "printf", "%s\n", *words)
    assert done.stdout == "".join(
        f"local0 │ {line}\n" for word in words for line in word.split("\n")
    )


def test_exec_has_empty_standard_input(orch: Orch) -> None:
    assert orch("exec", "--local", "1", "--", "cat").returncode == 0


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("exit 3", 3, "✗ exit code 3 on local[0-1]"),
        ("kill -9 $$", 137, "✗ exit code 137 on local[0-1]"),
        ("mkdir turn && exit 4; exit 5", 5, "✗ exit code 4 on local"),
        ("mkdir turn", 1, "✗ exit code 1 on local"),
    ],
)
def test_exec_exits_with_the_highest_code_and_names_failed_nodes(
    orch: Orch, script: str, code: int, message: str
) -> None:
    done = orch("exec", "--local", "2", "--", "sh", "-c", script)
    assert done.returncode == code
    assert message in done.stderr


def test_exec_timeout_ends_the_command(orch: Orch) -> None:
    script = "mkdir turn 2>&- || exit 0; echo $$; exec sleep 1000"
    done = orch("exec", "--local", "2", "--timeout", "3", "--", "sh", "-c", script)
    assert done.returncode == 124
    assert "timed out; ended the command on local" in done.stderr
    wait_for_end(int(done.stdout.split("│ ")[1]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_a_command_that_ignores_signals(
    tmp_path: Path, environment: dict[str, str], number: int
) -> None:
    script = "trap '' TERM HUP; echo $$; sleep 1000; sleep 1000"
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "exec", "--local", "1", "--", "sh", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    pid = int(process.stdout.readline().split("│ ")[1])
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "interrupted; ended the command on local0" in err
    wait_for_end(pid)


def test_exec_without_a_reader_ends_silently(tmp_path: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "exec", "--local", "1", "--", "yes"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "local0 │ y\n".encode()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_exec_with_an_unreachable_node_runs_nowhere(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: [{name: a, address: 127.0.0.1, port: 1}]")
    done = orch("exec", "--", "touch", "here")
    assert done.returncode == 125
    assert "a: 127.0.0.1 port 1 refuses connections" in done.stderr
    assert not (tmp_path / "here").exists()


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} runs on"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
