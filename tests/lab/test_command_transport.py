"""`transport: command` with ssh itself, a wrapper around it, and nsenter as the program, on real hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, orch, processes_of_runs, write
from .typed import Typed

pytestmark = pytest.mark.lab

SCRIPT = "import os, socket\nprint('rank', os.environ['RANK'], 'on', socket.gethostname())\n"
FORMS = {
    "login shell": ["ssh", "-F", "CONFIG", "{name}", "{script}"],
    "joined words": ["ssh", "-F", "CONFIG", "{name}", "sh", "-c", "{quoted_script}"],
}


def inventory_for(lab: Lab, folder: Path, words: list[str], terminal: Sequence[str] = ()) -> Path:
    """Write an inventory of the hosts that are reached by this command."""
    options = {"command": words, "terminal": terminal} if terminal else {"command": words}
    inventory = {
        "transport": {
            "command": {
                name: [str(lab.dir / "ssh_config") if word == "CONFIG" else word for word in given]
                for name, given in options.items()
            }
        },
        "defaults": {"python": sys.executable},
        "hosts": list(lab.nodes),
    }
    path = folder / "command.yaml"
    path.write_text(json.dumps(inventory))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_launch_runs_through_ssh(lab3: Lab, tmp_path: Path, form: str) -> None:
    inventory = inventory_for(lab3, tmp_path, FORMS[form])
    script = write(tmp_path / "project", "train.py", SCRIPT)
    done = orch(lab3, "launch", "-i", inventory, "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    assert lines == [f"rank {rank} on {node}" for rank, node in enumerate(lab3.nodes)]
    assert not processes_of_runs(lab3)


def test_words_joined_by_ssh_are_explained(lab3: Lab, tmp_path: Path) -> None:
    words = ["ssh", "-F", "CONFIG", "{name}", "sh", "-c", "{script}"]
    done = orch(lab3, "nodes", "-i", inventory_for(lab3, tmp_path, words))
    assert done.returncode == 125
    assert "write {quoted_script} in place of {script}" in done.stderr


# What `gcloud compute ssh` does with these arguments: options of ssh come after `--`.
GCLOUD = """#!/bin/sh
[ "$1 $2 $4 $6" = "compute ssh --quiet --command" ] && [ "$5" = --zone=lab ] || exit 64
echo "WARNING: no OS login" >&2
node=$3 script=$7; shift 7; [ $# = 0 ] || shift
exec ssh -F CONFIG "$@" "$node" -- "$script"
"""


@pytest.fixture
def gcloud(lab3: Lab, tmp_path: Path) -> list[str]:
    """The words with which a stand-in for gcloud reaches a host."""
    program = tmp_path / "gcloud"
    program.write_text(GCLOUD.replace("CONFIG", str(lab3.dir / "ssh_config")))
    program.chmod(0o755)
    words = ["compute", "ssh", "{name}", "--quiet", "--zone=lab", "--command", "{script}"]
    return [str(program), *words]


def test_wrapper_like_gcloud_runs_commands_and_gives_terminals(
    lab3: Lab, tmp_path: Path, gcloud: list[str]
) -> None:
    inventory = inventory_for(lab3, tmp_path, gcloud, [*gcloud, "--", "-t"])
    done = orch(lab3, "exec", "-i", inventory, "--", "sh", "-c", "hostname; exit 3")
    assert done.returncode == 3
    assert sorted(done.stdout.splitlines()) == [f"{node} │ {node}" for node in lab3.nodes]
    shell = Typed(lab3, "ssh", "-i", inventory, "node1")
    try:
        shell.type(b"echo on-$(hostname) $TERM $(stty size)\r")
        shell.wait_for("on-node1 xterm-256color 31 97")
        shell.resize(120, 40)
        os.kill(shell.process.pid, signal.SIGWINCH)
        shell.type(b"sh -c 'echo begun-$((1 + 1)); exec sleep 1000'\r")
        shell.wait_for("begun-2")
        shell.type(b"\x03")  # ends the command there, not orch
        shell.wait_for("^C")
        shell.type(b"stty size; exit 9\r")
        shell.wait_for("40 120")
        assert shell.end() == 9
    finally:
        shell.close()


def test_command_without_one_for_a_terminal_is_explained(lab3: Lab, tmp_path: Path) -> None:
    inventory = inventory_for(lab3, tmp_path, FORMS["login shell"])
    piped = lab3.run([*ORCH, "ssh", "-i", str(inventory), "node1"], input="hostname; exit 5\n")
    assert (piped.returncode, piped.stdout) == (5, "node1\n"), piped.stderr
    shell = Typed(lab3, "ssh", "-i", inventory, "node1")
    try:
        assert shell.end() == 2
        assert "give the transport the option terminal" in " ".join(shell.shown.split())
    finally:
        shell.close()


def test_launch_runs_through_nsenter(lab3: Lab, tmp_path: Path) -> None:
    for node in lab3.nodes:
        (tmp_path / node).write_text(f"{lab3.pid(node)}")
    enter = f'nsenter --target="$(cat {tmp_path}/"$0")" --mount --uts --ipc --net --pid'
    command = ["sh", "-c", f'exec {enter} env HOME=/root sh -c "$1"', "{name}", "{script}"]
    inventory = {
        "transport": {"command": command},
        "defaults": {"python": sys.executable, "workdir": "/tmp/entered"},
        "hosts": lab3.nodes,
    }
    script = write(tmp_path / "project", "train.py", SCRIPT)
    file = tmp_path / "entered.yaml"
    file.write_text(json.dumps(inventory))
    words = ["launch", "-i", str(file), "--launcher", "direct", str(script)]
    done = subprocess.run(
        [*ORCH, *words], capture_output=True, text=True, timeout=60,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    assert lines == [f"rank {rank} on {node}" for rank, node in enumerate(lab3.nodes)]
    assert not processes_of_runs(lab3)
