"""The steps that prepare a host, and what is left to the user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.provision.probe import CPU_BUILDS, HostFacts
from orchestrator.provision.steps import CannotPrepare, Requirements, UnsuitablePython, steps

ANY = Requirements(torch=None, base="python3")
VENV = "/home/u/orch/venv/bin/python"
READY = HostFacts(
    path=VENV,
    vacant=True,
    system="Debian GNU/Linux 12 (bookworm)",
    installer="apt-get",
    rights="sudo",
    rsync=True,
    python="3.11.2",
    isolated=True,
    torch="2.13.0+cpu",
    base="3.11.2",
    venv=True,
)
BARE = replace(READY, rsync=False, python="", isolated=False, torch="", venv=False)
PIP = (VENV, "-m", "pip", "install", "--quiet")


def commands(found: HostFacts, wanted: Requirements = ANY) -> list[tuple[str, ...]]:
    return [step.argv for step in steps(found, wanted)]


def test_ready_host_needs_no_steps() -> None:
    assert steps(READY, ANY) == []


def test_bare_host_needs_all_steps_in_order() -> None:
    apt = ("sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y")
    assert commands(BARE, Requirements(torch="2.13.0", base="python3")) == [
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
def test_torch_version_is_satisfied_by_its_local_builds(wanted: str, there: bool) -> None:
    found = commands(READY, Requirements(torch=wanted, base="python3"))
    assert found == ([] if there else [(*PIP, f"torch=={wanted}")])


def test_host_without_gpu_gets_the_cpu_build_if_its_index_is_reachable() -> None:
    found = replace(READY, torch="", cpu_builds=True)
    (step,) = steps(found, ANY)
    assert step.argv == (*PIP, "--index-url", CPU_BUILDS, "torch")
    assert "200 MB" in step.note


@pytest.mark.parametrize(
    "found", [replace(READY, torch=""), replace(READY, torch="", gpu="nvidia")]
)
def test_torch_with_cuda_has_a_note_about_its_size(found: HostFacts) -> None:
    (step,) = steps(found, ANY)
    assert step.argv == (*PIP, "torch")
    assert "2.7 GB" in step.note


def test_named_index_is_used_without_a_note() -> None:
    (step,) = steps(replace(READY, torch="", gpu="amd"), replace(ANY, index="https://rocm.test"))
    assert step.argv == (*PIP, "--index-url", "https://rocm.test", "torch")
    assert step.note == ""


@pytest.mark.parametrize(
    ("found", "part"),
    [
        (replace(BARE, base="3.6.8"), "--python"),
        (replace(BARE, rights=""), "cannot install rsync and python3 and python3-venv there"),
        (replace(BARE, installer="", venv=True), "the system's package manager"),
        (replace(READY, torch="", gpu="amd"), "AMD GPU.*--index"),
        (replace(READY, torch="", free=3000), r"3\.0 GB are free.*5 GB"),
    ],
)
def test_host_that_cannot_be_prepared_has_a_reason(found: HostFacts, part: str) -> None:
    with pytest.raises(CannotPrepare, match=part):
        steps(found, ANY)


@pytest.mark.parametrize(
    ("found", "part"),
    [
        (replace(READY, path="/usr/bin/python3", isolated=False, torch=""), "is the system's"),
        (replace(READY, python="3.7.16"), "3.8 or later is needed"),
        (replace(BARE, vacant=False), "there is no /home/u/orch/venv/bin/python"),
        (replace(BARE, path="python3"), "there is no python3"),
    ],
)
def test_python_of_the_system_is_not_changed(found: HostFacts, part: str) -> None:
    with pytest.raises(UnsuitablePython, match=part):
        steps(found, ANY)
