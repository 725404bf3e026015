"""What makes a machine ready, and what is left to a person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.provision.found import CPU_BUILDS, Found
from orchestrator.provision.steps import OtherPython, Unable, Wanted, steps

ANY = Wanted(torch=None, base="python3")
VENV = "/home/u/orch/venv/bin/python"
READY = Found(
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
PIP = (VENV, "-m", "pip", "install", "--quiet")


def commands(found: Found, wanted: Wanted = ANY) -> list[tuple[str, ...]]:
    return [step.argv for step in steps(found, wanted)]


def test_ready_host_is_left_alone() -> None:
    assert steps(READY, ANY) == []


def test_bare_host_gets_everything_in_order() -> None:
    apt = ("sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y")
    assert commands(BARE, Wanted(torch="2.13.0", base="python3")) == [
        ("sudo", "-n", "apt-get", "update", "-qq"),
        (*apt, "-qq", "rsync", "python3", "python3-venv"),
        ("python3", "-m", "venv", "/home/u/orch/venv"),
        (*PIP, "torch==2.13.0"),
    ]


def test_root_on_fedora_needs_neither_sudo_nor_a_venv_package() -> None:
    found = replace(BARE, installer="dnf", rights="root", venv=True)
    assert commands(found)[0] == ("dnf", "install", "-y", "-q", "rsync")


@pytest.mark.parametrize(
    ("wanted", "there"), [("2.13.0", True), ("2.13.0+cpu", True), ("2.12.1", False)]
)
def test_version_of_torch_is_satisfied_by_its_local_builds(wanted: str, there: bool) -> None:
    found = commands(READY, Wanted(torch=wanted, base="python3"))
    assert found == ([] if there else [(*PIP, f"torch=={wanted}")])


def test_host_without_gpu_gets_the_build_for_cpus_where_its_index_answers() -> None:
    found = replace(READY, torch="", cpu_builds=True)
    (step,) = steps(found, ANY)
    assert step.argv == (*PIP, "--index-url", CPU_BUILDS, "torch")
    assert "200 MB" in step.note


@pytest.mark.parametrize(
    "found", [replace(READY, torch=""), replace(READY, torch="", gpu="nvidia")]
)
def test_size_of_torch_with_cuda_is_told_before_it_begins(found: Found) -> None:
    (step,) = steps(found, ANY)
    assert step.argv == (*PIP, "torch")
    assert "2.7 GB" in step.note


def test_index_that_is_named_is_used_and_nothing_said_of_the_size() -> None:
    (step,) = steps(replace(READY, torch="", gpu="amd"), replace(ANY, index="https://rocm.test"))
    assert step.argv == (*PIP, "--index-url", "https://rocm.test", "torch")
    assert step.note == ""


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (replace(BARE, base="3.6.8"), "--python"),
        (replace(BARE, rights=""), "cannot install rsync and python3 and python3-venv there"),
        (replace(BARE, installer="", venv=True), "the system's package manager"),
        (replace(READY, torch="", gpu="amd"), "AMD GPU.*--index"),
        (replace(READY, torch="", free=3000), r"3\.0 GB are free.*5 GB"),
    ],
)
def test_what_it_cannot_do_it_says(found: Found, says: str) -> None:
    with pytest.raises(Unable, match=says):
        steps(found, ANY)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (replace(READY, path="/usr/bin/python3", own=False, torch=""), "is the system's"),
        (replace(READY, python="3.7.16"), "3.8 or later is needed"),
        (replace(BARE, vacant=False), "there is no /home/u/orch/venv/bin/python"),
        (replace(BARE, path="python3"), "there is no python3"),
    ],
)
def test_python_that_is_not_orchs_to_change_asks_for_another(found: Found, says: str) -> None:
    with pytest.raises(OtherPython, match=says):
        steps(found, ANY)
