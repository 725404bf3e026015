"""`orch ssh` and `orch exec -t` on real hosts: the terminal is passed on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, orch, write
from .typed import Typed

pytestmark = pytest.mark.lab


Begin = Callable[..., Typed]


@pytest.fixture
def typed(lab3: Lab) -> Iterator[Begin]:
    made: list[Typed] = []

    def begin(*words: str | Path) -> Typed:
        made.append(Typed(lab3, *words))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def test_shell_has_a_terminal_of_the_same_type_and_size(lab3: Lab, typed: Begin) -> None:
    shell = typed("ssh", "-i", lab3.inventory, "node1")
    shell.type(b"echo on-$(hostname) $TERM $(stty size) $PWD\r")
    shell.wait_for("on-node1 xterm-256color 31 97 /root")
    shell.resize(120, 40)
    os.kill(shell.process.pid, signal.SIGWINCH)  # as the terminal would send to its session
    shell.type(b"sh -c 'echo begun-$((1 + 1)); exec sleep 1000'\r")  # the target of Ctrl-C
    shell.wait_for("begun-2")
    shell.type(b"\x03")  # ends the remote command, not orch
    shell.wait_for("^C")
    shell.type(b"stty size; exit 9\r")
    shell.wait_for("40 120")
    assert shell.end() == 9


def test_command_has_a_terminal_and_its_exit_code_is_returned(lab3: Lab, typed: Begin) -> None:
    words = ["--nodes", "node2", "--", "sh", "-c", "tty; exit 4"]
    command = typed("exec", "-i", lab3.inventory, "-t", *words)
    assert command.end() == 4
    assert re.search(r"/dev/pts/\d+\r$", command.shown, re.MULTILINE)


def test_enter_tilde_dot_disconnects(lab3: Lab, typed: Begin) -> None:
    shell = typed("ssh", "-i", lab3.inventory, "node0")
    shell.type(b"echo up-$(hostname)\r")
    shell.wait_for("up-node0")
    shell.type(b"\r~.")
    assert shell.end() == 255


def test_unreachable_node_leaves_the_terminal_unchanged(
    lab3: Lab, tmp_path: Path, typed: Begin
) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("hosts: [{name: none, address: 198.18.0.10, port: 1}]")
    shell = typed("ssh", "-i", inventory, "none")
    assert shell.end() == 125
    assert "refuses connections" in shell.shown


def test_piped_input_is_read_without_a_terminal(lab3: Lab) -> None:
    words = [*ORCH, "ssh", "-i", str(lab3.inventory), "node1"]
    done = lab3.run(words, input="hostname; tty; echo bad >&2; exit 3\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "node1\nnot a tty\nbad\n", "")


def test_shell_of_a_run_starts_in_its_folder_with_its_environment(
    lab3: Lab, tmp_path: Path
) -> None:
    project = tmp_path / "shelled"
    write(project, "train.py", "print('hello')")
    words = ["-i", str(lab3.inventory), "--launcher", "direct", "--preflight", "off"]
    words += ["--env", "LEVEL=a b", "--env", "HF_TOKEN=secret", "train.py"]
    launched = lab3.run([*ORCH, "launch", *words], cwd=project)
    assert launched.returncode == 0, launched.stderr
    words = [*ORCH, "ssh", "--run", "latest", "node2"]
    done = lab3.run(words, input='pwd; echo "$LEVEL/$NCCL_SOCKET_IFNAME/${HF_TOKEN-none}"\n')
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/root/orch/shelled\na b/=eth0/none\n"
    assert "without HF_TOKEN" in done.stderr
    unknown = orch(lab3, "ssh", "--run", "latest", "node7")
    assert unknown.returncode == 2
    assert "has no node 'node7'" in unknown.stderr
