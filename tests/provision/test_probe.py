"""The probe reports what a host has; other output of the login is ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.provision.probe import PROBE, HostFacts


def probe(*args: str, home: Path) -> HostFacts:
    """Probe this machine, after a login that prints a greeting."""
    done = subprocess.run(
        ["sh", "-c", f"echo welcome; {PROBE}", "sh", *args],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return HostFacts.parse(done.stdout)


def test_probe_of_a_virtual_environment_finds_its_python(tmp_path: Path) -> None:
    found = probe(sys.executable, sys.executable, "", home=tmp_path)
    version = ".".join(map(str, sys.version_info[:3]))
    assert (found.path, found.python, found.base) == (sys.executable, version, version)
    assert found.isolated == (sys.prefix != sys.base_prefix)
    assert found.free is not None
    assert found.free > 0


def test_probe_of_a_missing_python_expands_the_home_and_finds_nothing(
    tmp_path: Path,
) -> None:
    found = probe("~/my venv/bin/python", "no-such-python", "", home=tmp_path)
    assert found.path == f"{tmp_path}/my venv/bin/python"
    assert found.vacant
    assert (found.python, found.torch, found.base, found.venv) == ("", "", "", False)


def test_probe_of_a_folder_with_other_files_is_not_vacant(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    assert not probe("~/bin/python", "python3", "", home=tmp_path).vacant


def test_unreachable_index_is_not_used(tmp_path: Path) -> None:
    found = probe("~/venv/bin/python", sys.executable, "http://127.0.0.1:9", home=tmp_path)
    assert not found.cpu_builds


def test_facts_are_shown_as_one_line() -> None:
    output = "@prepare system=Debian 12\n@prepare python=3.11.2\n@prepare gpu=nvidia\n"
    assert (
        str(HostFacts.parse(output))
        == "Debian 12 · Python 3.11.2 · no torch · no rsync · NVIDIA GPU"
    )


@given(st.text())
def test_any_output_is_parsed(output: str) -> None:
    found = HostFacts.parse(output + "\n@prepare free=" + output)
    assert found.free is None or found.free >= 0
