"""What scripts/prepare makes of a machine. Reaching real hosts is the lab's to test."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.inventory import Host

SCRIPT = Path(__file__).parents[1] / "scripts" / "prepare"


def _load() -> ModuleType:
    loader = SourceFileLoader("prepare", str(SCRIPT))
    spec = spec_from_loader("prepare", loader)
    assert spec
    module = module_from_spec(spec)
    sys.modules["prepare"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


prepare: Any = _load()

ANY = prepare.Wanted(torch=None, base="python3")
VENV = "/home/u/orch/venv/bin/python"
READY = prepare.Found(
    path=VENV,
    vacant=True,
    system="Debian GNU/Linux 12 (bookworm)",
    installer="apt-get",
    rights="sudo",
    rsync=True,
    python="3.11.2",
    own=True,
    torch="2.13.0+cpu",
    base="3.11.2",
    venv=True,
)
BARE = replace(READY, rsync=False, python="", own=False, torch="", venv=False)


def probe(*args: str, home: Path) -> Any:
    """What the probe says of this very machine, after a login that greets."""
    done = subprocess.run(
        ["sh", "-c", f"echo welcome; {prepare.PROBE}", "sh", *args],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return prepare.Found.parse(done.stdout)


def test_the_probe_reads_a_virtual_environment(tmp_path: Path) -> None:
    found = probe(sys.executable, sys.executable, home=tmp_path)
    version = ".".join(map(str, sys.version_info[:3]))
    assert (found.path, found.python, found.base) == (sys.executable, version, version)
    assert found.own == (sys.prefix != sys.base_prefix)


def test_the_probe_expands_the_home_folder_and_finds_nothing_there(tmp_path: Path) -> None:
    found = probe("~/my venv/bin/python", "no-such-python", home=tmp_path)
    assert found.path == f"{tmp_path}/my venv/bin/python"
    assert found.vacant
    assert (found.python, found.torch, found.base, found.venv) == ("", "", "", False)


def test_the_probe_sees_what_else_is_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    assert not probe("~/bin/python", "python3", home=tmp_path).vacant


def test_a_ready_host_is_left_alone() -> None:
    assert prepare.steps(READY, ANY) == []


def test_a_bare_host_gets_everything_in_order() -> None:
    apt = ("sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y")
    assert prepare.steps(BARE, prepare.Wanted(torch="2.13.0", base="python3")) == [
        ("sudo", "-n", "apt-get", "update", "-qq"),
        (*apt, "-qq", "rsync", "python3", "python3-venv"),
        ("python3", "-m", "venv", "/home/u/orch/venv"),
        (VENV, "-m", "pip", "install", "--quiet", "torch==2.13.0"),
    ]


def test_root_on_fedora_needs_neither_sudo_nor_a_venv_package() -> None:
    found = replace(BARE, installer="dnf", rights="root", venv=True)
    assert prepare.steps(found, ANY)[0] == ("dnf", "install", "-y", "-q", "rsync")


@pytest.mark.parametrize(
    ("wanted", "there"), [("2.13.0", True), ("2.13.0+cpu", True), ("2.12.1", False)]
)
def test_a_version_of_torch_is_satisfied_by_its_local_builds(wanted: str, there: bool) -> None:
    steps = prepare.steps(READY, prepare.Wanted(torch=wanted, base="python3"))
    assert steps == (
        [] if there else [(VENV, "-m", "pip", "install", "--quiet", f"torch=={wanted}")]
    )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (replace(READY, path="/usr/bin/python3", own=False, torch=""), "is the system's"),
        (replace(READY, python="3.7.16"), "3.8 or later is needed"),
        (replace(BARE, vacant=False), "there is no /home/u/orch/venv/bin/python"),
        (replace(BARE, path="python3"), "there is no python3"),
        (replace(BARE, base="3.6.8"), "--python"),
        (replace(BARE, rights=""), "no right to install rsync python3 python3-venv"),
        (replace(BARE, installer="", venv=True), "the system's package manager"),
    ],
)
def test_what_it_cannot_do_it_says(found: Any, says: str) -> None:
    with pytest.raises(prepare.Unable, match=says):
        prepare.steps(found, ANY)


@pytest.mark.parametrize("jump", [None, "me@first,second:2222"])
def test_no_hop_takes_an_unknown_host_key(jump: str | None) -> None:
    made = prepare.connection(Host(name="node0", address="198.18.0.1", proxy_jump=jump))
    hops = list(prepare._hops(made))
    assert len(hops) == (3 if jump else 1)
    for hop in hops:
        assert isinstance(hop.client._policy, prepare.RejectPolicy)
        assert hop.connect_timeout == prepare.CONNECT
