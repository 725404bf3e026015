"""Beginners' mistakes that only a node can detect: reported with place, cause and remedy."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import orch, write

pytestmark = pytest.mark.lab

Edit = Callable[[str], str]
NODE = "198.18.0.11"  # node1


def value(key: str, text: str) -> Edit:
    """Return an edit that sets a key of the defaults."""
    return lambda inventory: re.sub(rf"(?m)^  {key}: .*$", f"  {key}: {text}", inventory)


def more(keys: str) -> Edit:
    """Return an edit that adds keys to node1."""
    return lambda inventory: inventory.replace(f"address: {NODE}", f"address: {NODE}, {keys}")


def elsewhere(inventory: str) -> str:
    return inventory.replace(f"address: {NODE}", "address: 198.18.0.99")


def unresolved(inventory: str) -> str:
    return inventory.replace(f"address: {NODE}", "address: nosuch.invalid")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        pytest.param(
            more("port: 2222"),
            (f"{NODE} port 2222 refuses connections", "right port in the inventory"),
            id="port_wrong",
        ),
        pytest.param(
            elsewhere, ("198.18.0.99", "check that the machine is up"), id="address_wrong"
        ),
        pytest.param(
            unresolved,
            ("the name nosuch.invalid does not resolve", "correct the address"),
            id="name_wrong",
        ),
        pytest.param(
            value("user", "rot"),
            ("does not let rot in", "rot@198.18.0.10", "ssh-copy-id", "set user and identity_file"),
            id="user_wrong",
        ),
        pytest.param(
            value("identity_file", "~/.ssh/nosuch"),
            ("~/.ssh/nosuch is left out: missing",),
            id="key_missing",
        ),
        pytest.param(
            value("python", "/opt/nosuch/bin/python"),
            ("there is no Python at", "set `python:` in the inventory"),
            id="python_wrong",
        ),
    ],
)
def test_wrong_host_in_the_inventory_is_reported(
    lab3: Lab, tmp_path: Path, edit: Edit, says: tuple[str, ...]
) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text(edit(lab3.inventory.read_text()))
    script = write(tmp_path / "project", "train.py", "print('hello')\n")
    done = orch(lab3, "launch", "-i", inventory, "--connect-timeout", "3", script)
    answered(done.returncode, 125, done.stderr, says)


def test_module_that_the_nodes_lack_is_reported_before_the_start(lab3: Lab, tmp_path: Path) -> None:
    done = launched(lab3, tmp_path, "import nosuchmodule\n")
    answered(done.returncode, 125, done.stderr, ("nosuchmodule", "train.py:1"))


def test_script_with_a_syntax_error_is_reported_with_its_line(lab3: Lab, tmp_path: Path) -> None:
    done = launched(lab3, tmp_path, "def train(:\n    pass\n")
    assert done.returncode != 0
    answered(done.returncode, done.returncode, done.stderr, ("train.py", "line 1"))


def launched(lab: Lab, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Launch a script of this text on one node."""
    script = write(folder / "project", "train.py", text)
    return orch(
        lab, "launch", "-i", lab.inventory, "--nodes", "node0", "--nproc", "1", "--launcher",
        "direct", script,
    )  # fmt: skip


def test_host_key_that_is_not_known_is_reported_with_its_fingerprint(
    lab3: Lab, tmp_path: Path
) -> None:
    known = lab3.home / ".ssh/known_hosts"
    kept = known.read_text()
    try:
        known.write_text(re.sub(r"(?m)^node1,.*\n", "", kept))
        done = orch(lab3, "nodes", "-i", lab3.inventory)
    finally:
        known.write_text(kept)
    answered(
        done.returncode,
        125,
        done.stderr,
        (f"host key of {NODE} is not known", "SHA256:", "--accept-new"),
    )


def test_file_that_the_script_cannot_find_is_the_cause(lab3: Lab, tmp_path: Path) -> None:
    done = launched(lab3, tmp_path, "open('data/train.bin')\n")
    answered(done.returncode, 1, done.stderr, ("data/train.bin", "No such file or directory"))


def test_main_port_in_use_is_reported_with_its_process(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "project", "train.py", "print('hello')\n")
    listening = lab3.popen(["python3", "-c", _LISTEN], node="node0", stdout=-1)
    try:
        assert listening.stdout is not None
        assert listening.stdout.readline() == b"up\n"
        done = orch(lab3, "launch", "-i", lab3.inventory, "--main-port", "29777", script)
    finally:
        listening.kill()
        listening.communicate()
    answered(done.returncode, 125, done.stderr, ("29777", "node0"))


_LISTEN = """
import socket, time
server = socket.create_server(("0.0.0.0", 29777))
print("up", flush=True)
time.sleep(100)
"""


def test_working_folder_that_cannot_be_created_is_reported(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "project", "train.py", "print('hello')\n")
    done = orch(lab3, "launch", "-i", lab3.inventory, "--workdir", "/proc/none", script)
    answered(done.returncode, 125, done.stderr, ("/proc/none cannot be used", "set `workdir:`"))


def answered(code: int, expected: int, stderr: str, says: tuple[str, ...]) -> None:
    """Check the exit code and the key words of an error, and that no program's raw error is shown."""
    assert code == expected, stderr
    words = " ".join(stderr.split())
    for essential in says:
        assert essential in words, stderr
    assert "bug in orch" not in words
    assert 'File "/' not in words or "orchestrator/" not in words
