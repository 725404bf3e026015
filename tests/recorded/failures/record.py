"""Make real software fail, and keep what it printed in printed/NAME.txt.

`python -m tests.recorded.failures.record [NAME]...` makes the cases named, or all. Each is a small shell
script. It runs in a machine of its own (namespaces for network, mounts, names and processes: nothing
leaves by the network, root is needed) with loopback only, the host name node0 and a scratch folder. What
is the machine's own (paths, addresses of memory) is replaced.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .cases import CASES

HERE = Path(__file__).parent
SECONDS = 90

MACHINE = """
set -u
ip link set lo up
mount -t proc proc /proc
hostname node0
printf '127.0.0.1 localhost node0\\n' > etc-hosts && mount --bind etc-hosts /etc/hosts
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 TMPDIR=$PWD PATH={bin}:$PATH
cat > _job.py <<'PROGRAM'
import os, sys, time, datetime, signal
import torch
import torch.distributed as dist
def start(seconds=300, **more):
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=seconds), **more)
    return dist.get_rank()
PROGRAM
run() {{ cat > train.py; torchrun --nproc-per-node "$@" train.py; }}
"""


def record(name: str, script: str) -> str:
    """Return what the case printed, both channels in the order of writing."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        output = place.with_suffix(".out")
        machine = MACHINE.format(bin=Path(sys.executable).parent)
        with output.open("wb") as file:
            subprocess.run(
                ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                 "timeout", "-s", "KILL", str(SECONDS), "bash", "-c", machine + script],
                cwd=place, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
        text = output.read_text(encoding="utf-8", errors="replace")
        output.unlink()
    return cleaned(text, folder)


def cleaned(text: str, folder: str) -> str:
    """Return the text without what belongs to this machine alone."""
    text = text.replace(folder, "/home/user/job")
    venv = str(Path(sys.executable).parent.parent)
    text = text.replace(venv, "/opt/venv")
    text = re.sub(re.escape(sys.base_prefix) + r"(?=/(bin|lib)/)", "/usr", text)
    return re.sub(r"0x[0-9a-f]{6,}", "0x7f0000000000", text)


def main() -> None:
    """Record the cases named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", default=[])
    for name in parser.parse_args().names or CASES:
        text = record(name, CASES[name])
        (HERE / "printed").mkdir(exist_ok=True)
        (HERE / "printed" / f"{name}.txt").write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
