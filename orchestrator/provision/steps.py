"""From what a host is to the commands that make it ready: pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from orchestrator.provision.found import CPU_BUILDS, Found

VENV = "~/orch/venv/bin/python"
"""Where a virtual environment of orch's own would be on a host: a `python:` to suggest."""

_OLDEST = (3, 8)  # what runs on a node
_CUDA_ROOM = 5000  # MB that torch with CUDA takes, measured
_WITH_CUDA = "2.7 GB to download, for it is built with CUDA"


@dataclass(frozen=True)
class Wanted:
    """What the command line asks of every host."""

    torch: str | None  # a version; None: any
    base: str  # the Python that virtual environments are made with
    index: str | None = (
        None  # where torch comes from; None: PyPI, or CPU_BUILDS for a host without GPU
    )


@dataclass(frozen=True)
class Step:
    """One command, and what a person should know before it runs."""

    argv: tuple[str, ...]
    note: str = ""


class Unable(Exception):
    """This host needs a person; says what for."""


class OtherPython(Unable):
    """The inventory's `python:` cannot be made ready, another one could."""


def steps(found: Found, wanted: Wanted) -> list[Step]:
    """Return the commands that make the host ready, in order; none when it is. Raises Unable."""
    environment = _environment(found, wanted)
    packages = [] if found.rsync else ["rsync"]
    if environment and not found.venv:
        packages += _packages_for_venv(found, wanted)
    commands = _installation(found, packages)
    if environment:
        commands.append(Step((wanted.base, "-m", "venv", environment)))
    if environment or not _satisfies(found.torch, wanted.torch):
        commands.append(_torch(found, wanted))
    return commands


def _environment(found: Found, wanted: Wanted) -> str:
    """Return the folder of the virtual environment that has to be made, or "". Raises Unable."""
    if _is_recent(found.python):
        if found.own or _satisfies(found.torch, wanted.torch):
            return ""
        exactly = f" {wanted.torch}" if wanted.torch else ""
        raise OtherPython(f"{found.path} is the system's, and has no torch{exactly}")
    if found.python:
        raise OtherPython(f"{found.path} is Python {found.python}; 3.8 or later is needed")
    if found.vacant and posixpath.basename(posixpath.dirname(found.path)) == "bin":
        return posixpath.dirname(posixpath.dirname(found.path))
    raise OtherPython(f"there is no {found.path}")


def _packages_for_venv(found: Found, wanted: Wanted) -> list[str]:
    base = posixpath.basename(wanted.base)
    if found.base and not _is_recent(found.base):
        raise Unable(f"{wanted.base} is Python {found.base}; name a later one with --python")
    if found.installer == "apt-get":  # Debian splits venv off
        return [base, f"{base}-venv"]
    return [base]


def _installation(found: Found, packages: list[str]) -> list[Step]:
    if not packages:
        return []
    if not found.installer or not found.rights:
        tool = found.installer or "the system's package manager"
        why = "" if found.rights else " (neither root, nor sudo without a password)"
        raise Unable(
            f"cannot install {' and '.join(packages)} there{why}: do it there, with {tool}"
        )
    sudo = ("sudo", "-n") if found.rights == "sudo" else ()
    if found.installer == "dnf":
        return [Step((*sudo, "dnf", "install", "-y", "-q", *packages))]
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive")
    return [
        Step((*sudo, "apt-get", "update", "-qq")),
        Step((*sudo, *quiet, "apt-get", "install", "-y", "-qq", *packages)),
    ]


def _torch(found: Found, wanted: Wanted) -> Step:
    """Return the command that installs torch: the build for CPUs where there is no GPU."""
    index, note = wanted.index, ""
    if index is None and found.gpu == "amd":
        raise Unable(
            "it has an AMD GPU, and PyPI has no torch for those: name the index that has with --index"
        )
    if index is None and not found.gpu and found.cpu_builds:
        index, note = CPU_BUILDS, "about 200 MB to download"
    elif index is None:
        note = _WITH_CUDA
        if found.free is not None and found.free < _CUDA_ROOM:
            raise Unable(
                f"{found.free / 1000:.1f} GB are free on the disk of the home; torch with CUDA takes "
                f"{_CUDA_ROOM / 1000:g} GB"
            )
    torch = f"torch=={wanted.torch}" if wanted.torch else "torch"
    source = ("--index-url", index) if index else ()
    return Step((found.path, "-m", "pip", "install", "--quiet", *source, torch), note)


def _is_recent(version: str) -> bool:
    return tuple(map(int, re.findall(r"\d{1,9}", version)[:2])) >= _OLDEST


def _satisfies(version: str, wanted: str | None) -> bool:
    """Tell whether the version will do; 2.13.0+cpu is a 2.13.0, as pip has it."""
    return bool(version) and wanted in (None, version, version.partition("+")[0])
