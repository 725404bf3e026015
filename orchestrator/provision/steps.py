"""From what a host has to the commands that prepare it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from orchestrator.provision.probe import CPU_BUILDS, HostFacts

VENV = "~/orch/venv/bin/python"
"""The `python:` to suggest: a virtual environment that orch creates."""

_MIN_PYTHON = (3, 8)  # for orch's agent
_CUDA_SIZE = 5000  # MB of torch with CUDA on disk, measured


@dataclass(frozen=True)
class Requirements:
    """What the command line requires of every host."""

    torch: str | None  # a version; None: any
    base: str  # the Python that creates virtual environments
    index: str | None = None  # for torch; None: PyPI, or CPU_BUILDS for a host without GPU


@dataclass(frozen=True)
class Step:
    """One command, and a note for the user before it runs."""

    argv: tuple[str, ...]
    note: str = ""


class CannotPrepare(Exception):
    """The host cannot be prepared; the message says what the user has to do."""


class UnsuitablePython(CannotPrepare):
    """The inventory's `python:` cannot be prepared, but another one could."""


def steps(host: HostFacts, requirements: Requirements) -> list[Step]:
    """Return the commands that prepare the host, in order; none if it is ready. Raises CannotPrepare."""
    environment = _environment(host, requirements)
    packages = [] if host.rsync else ["rsync"]
    if environment and not host.venv:
        packages += _packages_for_venv(host, requirements)
    commands = _installation(host, packages)
    if environment:
        commands.append(Step((requirements.base, "-m", "venv", environment)))
    if environment or not _satisfies(host.torch, requirements.torch):
        commands.append(_torch(host, requirements))
    return commands


def _environment(host: HostFacts, requirements: Requirements) -> str:
    """Return the folder of the virtual environment to create, or "". Raises CannotPrepare."""
    if _is_recent(host.python):
        if host.isolated or _satisfies(host.torch, requirements.torch):
            return ""
        exactly = f" {requirements.torch}" if requirements.torch else ""
        raise UnsuitablePython(f"{host.path} is the system's, and has no torch{exactly}")
    if host.python:
        raise UnsuitablePython(f"{host.path} is Python {host.python}; 3.8 or later is needed")
    if host.vacant and posixpath.basename(posixpath.dirname(host.path)) == "bin":
        return posixpath.dirname(posixpath.dirname(host.path))
    raise UnsuitablePython(f"there is no {host.path}")


def _packages_for_venv(host: HostFacts, requirements: Requirements) -> list[str]:
    base = posixpath.basename(requirements.base)
    if host.base and not _is_recent(host.base):
        raise CannotPrepare(
            f"{requirements.base} is Python {host.base}; name a later one with --python"
        )
    # Debian packages venv separately.
    return [base, f"{base}-venv"] if host.installer == "apt-get" else [base]


def _installation(host: HostFacts, packages: list[str]) -> list[Step]:
    if not packages:
        return []
    if not host.installer or not host.rights:
        tool = host.installer or "the system's package manager"
        why = "" if host.rights else " (neither root, nor sudo without a password)"
        raise CannotPrepare(
            f"cannot install {' and '.join(packages)} there{why}: do it there, with {tool}"
        )
    sudo = ("sudo", "-n") if host.rights == "sudo" else ()
    if host.installer == "dnf":
        return [Step((*sudo, "dnf", "install", "-y", "-q", *packages))]
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive")
    return [
        Step((*sudo, "apt-get", "update", "-qq")),
        Step((*sudo, *quiet, "apt-get", "install", "-y", "-qq", *packages)),
    ]


def _torch(host: HostFacts, requirements: Requirements) -> Step:
    """Return the command that installs torch: the CPU build if the host has no GPU."""
    index, note = requirements.index, ""
    if index is None and host.gpu == "amd":
        raise CannotPrepare(
            "it has an AMD GPU, for which PyPI has no torch: name another index with --index"
        )
    if index is None and not host.gpu and host.cpu_builds:
        index, note = CPU_BUILDS, "about 200 MB to download"
    elif index is None:
        note = "2.7 GB to download: the build with CUDA"
        if host.free is not None and host.free < _CUDA_SIZE:
            raise CannotPrepare(
                f"{host.free / 1000:.1f} GB are free on the disk of the home; torch with CUDA takes "
                f"{_CUDA_SIZE / 1000:g} GB"
            )
    torch = f"torch=={requirements.torch}" if requirements.torch else "torch"
    source = ("--index-url", index) if index else ()
    return Step((host.path, "-m", "pip", "install", "--quiet", *source, torch), note)


def _is_recent(version: str) -> bool:
    return tuple(map(int, re.findall(r"\d{1,9}", version)[:2])) >= _MIN_PYTHON


def _satisfies(version: str, wanted: str | None) -> bool:
    """Tell whether the version is the wanted one; 2.13.0+cpu is a 2.13.0, as for pip."""
    return bool(version) and wanted in (None, version, version.partition("+")[0])
