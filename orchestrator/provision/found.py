"""What a host is, as far as a first launch depends on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA, for hosts that have no GPU."""

# Prints "@prepare KEY=VALUE" lines: a login that greets with text of its own does no harm. $1 is the
# `python:` of the inventory, $2 the Python for virtual environments, $3 an index to try, or nothing.
PROBE = r"""
tell() { printf '@prepare %s=%s\n' "$1" "$2"; }
ask() { "$@" 2>/dev/null </dev/null; }
python=$1
case $python in "~/"*) python=$HOME/${python#"~/"} ;; esac
tell path "$python"
folder=${python%/bin/*}
if [ -z "$(ask ls -A "$folder")" ] || [ -e "$folder/pyvenv.cfg" ]; then tell vacant yes; fi
tell system "$(ask sh -c '. /etc/os-release && printf %s "$PRETTY_NAME"')"
for tool in rsync apt-get dnf; do
    if ask command -v "$tool" >/dev/null; then tell "$tool" yes; fi
done
if [ "$(id -u)" = 0 ]; then tell rights root; elif ask sudo -n true; then tell rights sudo; fi
tell python "$(ask "$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
tell own "$(ask "$python" -c '
import os, sys
conda = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
print("yes" if conda or sys.prefix != sys.base_prefix else "")')"
torch=$(ask "$python" -c '
from importlib.metadata import version
print(version("torch"))')
tell torch "$torch"
tell base "$(ask "$2" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
tell venv "$(ask "$2" -c 'import ensurepip, venv; print("yes")')"
gpu=
if [ -e /dev/kfd ]; then gpu=amd; fi
if [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidia0 ]; then gpu=nvidia; fi
tell gpu "$gpu"
tell free "$(ask df -Pm "$HOME" | awk 'NR == 2 { print $4 }')"
if [ -z "$torch$gpu" ] && [ -n "$3" ]; then
    tell cpu-builds "$(ask timeout 8 "$2" -c '
import sys, urllib.request
urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=5)
print("yes")' "$3")"
fi
"""


@dataclass(frozen=True)
class Found:
    """What the probe saw on a host. Versions are empty where there is none."""

    path: str  # of the inventory's `python:`, with ~ expanded
    vacant: bool  # when path is DIR/bin/python: DIR holds nothing but a virtual environment
    system: str
    installer: str  # apt-get, dnf or ""
    rights: str  # root, sudo or ""
    rsync: bool
    python: str
    own: bool  # python is of a virtual or conda environment, not of the system
    torch: str
    base: str
    venv: bool  # base can make virtual environments
    gpu: str = ""  # nvidia, amd or ""
    free: int | None = None  # MB on the disk of the home
    cpu_builds: bool = False  # the index of CPU builds answers there

    @classmethod
    def parse(cls, output: str) -> Found:
        """Return what the probe's output says."""
        told = dict(re.findall(r"^@prepare ([a-z-]+)=(.+?)\r?$", output, re.MULTILINE))
        free = told.get("free", "")
        return cls(
            path=told.get("path", ""),
            vacant="vacant" in told,
            system=told.get("system", "an unknown system"),
            installer=next((tool for tool in ("apt-get", "dnf") if tool in told), ""),
            rights=told.get("rights", ""),
            rsync="rsync" in told,
            python=told.get("python", ""),
            own="own" in told,
            torch=told.get("torch", ""),
            base=told.get("base", ""),
            venv="venv" in told,
            gpu=told.get("gpu", ""),
            free=int(free) if free.isascii() and free.isdigit() and len(free) < 18 else None,
            cpu_builds="cpu-builds" in told,
        )

    def __str__(self) -> str:
        return " · ".join(
            [
                self.system,
                f"Python {self.python}" if self.python else f"no {self.path or 'Python'}",
                f"torch {self.torch}" if self.torch else "no torch",
                "rsync" if self.rsync else "no rsync",
                {"nvidia": "NVIDIA GPU", "amd": "AMD GPU"}.get(self.gpu, "no GPU"),
            ]
        )
