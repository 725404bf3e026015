"""`orch prepare` on real hosts: what it announces, does and refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pexpect
import pytest
from labkit.lab import Lab

from .orch import ORCH, orch

pytestmark = pytest.mark.lab

VENV = "~/orch/venv/bin/python"


def bare(lab: Lab, folder: Path) -> Path:
    """Return an inventory whose Python does not exist yet; the nodes find torch in a local folder."""
    inventory = folder / "hosts.yaml"
    lines = lab.inventory.read_text().splitlines(keepends=True)
    inventory.write_text(
        "".join(f"  python: {VENV}\n" if "python:" in line else line for line in lines)
    )
    for node in lab.nodes:
        home = lab.files(node) / "home"
        (home / "wheels").mkdir(exist_ok=True)
        _wheel(home / "wheels")
        (home / ".config/pip").mkdir(parents=True, exist_ok=True)
        (home / ".config/pip/pip.conf").write_text(
            "[global]\nno-index = true\nfind-links = /root/wheels\n"
        )
    return inventory


def _wheel(folder: Path) -> None:
    """Write a small distribution named torch: the real one is too large for a test."""
    info = "torch-2.3.4.dist-info"
    files = {
        "torch/__init__.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.3.4\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with ZipFile(folder / "torch-2.3.4-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))


def test_prepare_of_bare_hosts_installs_once_and_does_nothing_again(
    lab3: Lab, tmp_path: Path
) -> None:
    inventory = bare(lab3, tmp_path)
    base: list[str | Path] = ["-i", inventory, "--python", sys.executable]

    first = orch(lab3, "prepare", *base, "--dry-run")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("! node[0-2]: ") == 1
    assert f"{sys.executable} -m venv /root/orch/venv\n" in first.stdout
    assert "/root/orch/venv/bin/python -m pip install --quiet torch\n" in first.stdout
    assert not any((lab3.files(node) / "home/orch/venv").exists() for node in lab3.nodes)

    done = orch(lab3, "prepare", *base, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ node[0-2]: ready: " in done.stdout
    assert "torch 2.3.4" in done.stdout
    assert "node1: step 2 of 2" in done.stderr
    for node in lab3.nodes:
        assert (lab3.files(node) / "home/orch/venv/bin/python").is_symlink()

    again = orch(lab3, "prepare", *base)  # no confirmation needed
    assert again.returncode == 0
    assert again.stdout.splitlines()[0].startswith("✓ node[0-2]: ready: ")


def test_nothing_is_installed_without_confirmation(lab3: Lab, tmp_path: Path) -> None:
    inventory = bare(lab3, tmp_path)
    python = "~/other/venv/bin/python"
    inventory.write_text(inventory.read_text().replace(VENV, python))
    base = ["prepare", "-i", str(inventory), "--python", sys.executable]

    unasked = orch(lab3, *base)
    assert unasked.returncode == 2
    assert "--yes runs it without asking" in unasked.stderr

    child = lab3.popen(
        [sys.executable, "-c", _ON_A_TERMINAL, *ORCH, *base],
    )
    assert child.wait(60) == 1
    assert not any((lab3.files(node) / "home/other").exists() for node in lab3.nodes)


_ON_A_TERMINAL = f"""
import sys
sys.path[:0] = {[str(Path(pexpect.__file__).parents[1])]!r}
import pexpect
child = pexpect.spawn(sys.argv[1], sys.argv[2:], dimensions=(24, 80), timeout=50)
child.expect("run these commands on node")
child.sendline("n")
child.expect("nothing was run")
child.expect(pexpect.EOF)
child.close()
sys.exit(child.exitstatus)
"""


def test_system_python_is_not_changed_and_another_is_required(lab3: Lab, tmp_path: Path) -> None:
    inventory = bare(lab3, tmp_path)
    inventory.write_text(inventory.read_text().replace(VENV, "/usr/bin/python3"))
    done = orch(lab3, "prepare", "-i", inventory, "--yes")
    assert done.returncode == 1
    assert "✗ node[0-2]: /usr/bin/python3 is the system's, and has no torch" in done.stdout
    assert f"  defaults:\n    python: {VENV}\n" in done.stdout


def test_host_whose_key_is_not_known_is_refused(lab3: Lab, tmp_path: Path) -> None:
    inventory = bare(lab3, tmp_path)
    known = lab3.home / ".ssh/known_hosts"
    kept = known.read_text()
    lines = [line for line in kept.splitlines(keepends=True) if not line.startswith("node1,")]
    try:
        known.write_text("".join(lines))
        done = orch(lab3, "prepare", "-i", inventory, "--dry-run")
    finally:
        known.write_text(kept)
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert "✗ node1: cannot be reached: its host key is not known" in words
    assert f"ssh root@{lab3.address('node1')}" in words
    assert "node[0,2]" in done.stdout


def test_host_that_shows_another_key_is_refused(lab3: Lab, tmp_path: Path) -> None:
    inventory = bare(lab3, tmp_path)
    known = lab3.home / ".ssh/known_hosts"
    kept = known.read_text()
    keys = dict(line.split(" ", 1) for line in kept.splitlines(keepends=True))
    ours, other = (
        next(names for names in keys if names.startswith(node)) for node in ("node0,", "node1,")
    )
    try:
        known.write_text(kept.replace(keys[ours], keys[other], 1))
        done = orch(lab3, "prepare", "-i", inventory, "--dry-run", "--nodes", "node0")
    finally:
        known.write_text(kept)
    assert done.returncode == 1
    assert "its host key has changed" in done.stdout


def test_failed_step_is_reported_with_an_exit_code(lab3: Lab, tmp_path: Path) -> None:
    inventory = bare(lab3, tmp_path)
    inventory.write_text(inventory.read_text().replace(VENV, "~/third/venv/bin/python"))
    done = orch(
        lab3, "prepare", "-i", inventory, "--python", sys.executable, "--yes", "--torch", "1.2.3",
        "--nodes", "node0",
    )  # fmt: skip
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert (
        "✗ node0: `/root/third/venv/bin/python -m pip install --quiet torch==1.2.3` failed" in words
    )
    assert "with exit code 1: ERROR: " in words  # the start of pip's message


def test_interrupt_ends_prepare_and_warns_about_the_running_command(
    lab3: Lab, tmp_path: Path
) -> None:
    inventory = bare(lab3, tmp_path)
    inventory.write_text(inventory.read_text().replace(VENV, "~/fourth/venv/bin/python"))
    slow = lab3.files("node0") / "home/slow-python"
    slow.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\nexec sleep 300\n')
    slow.chmod(0o755)
    process = lab3.popen(
        [
            *ORCH,
            "prepare",
            "-i",
            str(inventory),
            "--nodes",
            "node0",
            "--python",
            "/root/slow-python",
            "--yes",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        assert process.stderr.readline() == b"orch: node0: step 1 of 2\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert (
            b"interrupted; a command that had begun on a node may continue there"
            in process.stderr.read()
        )
    finally:
        process.kill()
        process.communicate()
