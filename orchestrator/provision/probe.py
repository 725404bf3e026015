"""Probe what a host has: Python, torch, rsync, a package manager, a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA, for hosts that have no GPU."""

# Prints "@prepare KEY=VALUE" lines; other output, such as a greeting, is ignored. $1 is `python:` of the
# inventory, $2 the Python for virtual environments, $3 an index to try, or empty.
PROBE = r"""
put() { printf '@prepare %s=%s\n' "$1" "$2"; }
ask() { "$@" 2>/dev/null </dev/null; }
python=$1
case $python in "~/"*) python=$HOME/${python#"~/"} ;; esac
put path "$python"
folder=${python%/bin/*}
if [ -z "$(ask ls -A "$folder")" ] || [ -e "$folder/pyvenv.cfg" ]; then put vacant yes; fi
put system "$(ask sh -c '. /etc/os-release && printf %s "$PRETTY_NAME"')"
for tool in rsync apt-get dnf; do
    if ask command -v "$tool" >/dev/null; then put "$tool" yes; fi
done
if [ "$(id -u)" = 0 ]; then put rights root; elif ask sudo -n true; then put rights sudo; fi
put python "$(ask "$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
put own "$(ask "$python" -c '
import os, sys
conda = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
print("yes" if conda or sys.prefix != sys.base_prefix else "")')"
torch=$(ask "$python" -c '
from importlib.metadata import version
print(version("torch"))')
put torch "$torch"
put base "$(ask "$2" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
put venv "$(ask "$2" -c 'import ensurepip, venv; print("yes")')"
gpu=
if [ -e /dev/kfd ]; then gpu=amd; fi
if [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidia0 ]; then gpu=nvidia; fi
put gpu "$gpu"
put free "$(ask df -Pm "$HOME" | awk 'NR == 2 { print $4 }')"
if [ -z "$torch$gpu" ] && [ -n "$3" ]; then
    put cpu-builds "$(ask timeout 8 "$2" -c '
import sys, urllib.request
urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=5)
print("yes")' "$3")"
fi
"""


@dataclass(frozen=True)
class HostFacts:
    """What the probe found on a host. A version is empty if there is none."""

    path: str  # of the inventory's `python:`, with ~ expanded
    vacant: bool  # when path is DIR/bin/python: DIR holds nothing but a virtual environment
    system: str
    installer: str  # apt-get, dnf or ""
    rights: str  # root, sudo or ""
    rsync: bool
    python: str
    isolated: bool  # python belongs to a virtual or conda environment, not to the system
    torch: str
    base: str
    venv: bool  # base can create virtual environments
    gpu: str = ""  # nvidia, amd or ""
    free: int | None = None  # MB on the disk of the home
    cpu_builds: bool = False  # the index of CPU builds can be reached

    @classmethod
    def parse(cls, output: str) -> HostFacts:
        """Return the facts in the probe's output."""
        values = dict(re.findall(r"^@prepare ([a-z-]+)=(.+?)\r?$", output, re.MULTILINE))
        free = values.get("free", "")
        return cls(
            path=values.get("path", ""),
            vacant="vacant" in values,
            system=values.get("system", "an unknown system"),
            installer=next((tool for tool in ("apt-get", "dnf") if tool in values), ""),
            rights=values.get("rights", ""),
            rsync="rsync" in values,
            python=values.get("python", ""),
            isolated="own" in values,
            torch=values.get("torch", ""),
            base=values.get("base", ""),
            venv="venv" in values,
            gpu=values.get("gpu", ""),
            free=int(free) if free.isascii() and free.isdigit() and len(free) < 18 else None,
            cpu_builds="cpu-builds" in values,
        )

    def __str__(self) -> str:
        python = f"Python {self.python}" if self.python else f"no {self.path or 'Python'}"
        torch = f"torch {self.torch}" if self.torch else "no torch"
        rsync = "rsync" if self.rsync else "no rsync"
        gpu = {"nvidia": "NVIDIA GPU", "amd": "AMD GPU"}.get(self.gpu, "no GPU")
        return " · ".join((self.system, python, torch, rsync, gpu))
