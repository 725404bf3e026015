"""Slurm in a lab: its own slurmctld on the controller, and a slurmd on every host.

lab = life.up(4, "demo")
slurm.start(lab)
slurm.run(lab, ["srun", "--nodes=4", "hostname"]).stdout

Everything is in the hosts' own /run, with a munge key of the lab. All daemons end with their host. Memory
and CPUs are only counted: there are no cgroups in a lab.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit import build
from labkit.lab import START_TIMEOUT, Lab, LabError

CPUS = 16
"""CPUs that each node offers, whatever this machine has."""
GPUS = 4
"""GPUs of each node, as far as Slurm knows: devices that every machine has."""
CONFIG = "/run/slurm/slurm.conf"
ENVIRONMENT = {"SLURM_CONF": CONFIG}
"""What a command needs to reach the lab's Slurm."""

_TOOLS = {
    "munged": "munge",
    "scontrol": "slurm-client",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
}

_SLURM_CONF = """\
ClusterName=lab
SlurmctldHost=ctl
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=/run/slurm/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/run/slurm/slurmctld.log
SlurmdLogFile=/run/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=3
OverTimeLimit=0
SlurmdTimeout=10
NodeName=node[0-{last}] CPUs={cpus} RealMemory=1000 Gres=gpu:{gpus}
PartitionName=main Nodes=node[0-{last}] Default=YES MaxTime=INFINITE
"""
_FILES = {
    # The plugin is loaded at the start even where nothing uses it; the others cannot be detected here.
    "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
    "gres.conf": f"Name=gpu File=/dev/tty[0-{GPUS - 1}]\n",
}
_MUNGED = ["munged", *(f"--{kind}=/run/munge/{kind}" for kind in (
    "key-file", "pid-file", "seed-file", "log-file",
))]  # fmt: skip


def missing() -> str | None:
    """Return why Slurm cannot run in a lab on this machine, in one line; None if it can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), build.PATH])
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if not absent:
        return None
    packages = " ".join(sorted({_TOOLS[tool] for tool in absent}))
    return f"Slurm needs {', '.join(absent)}: apt-get install --yes {packages}"


def start(lab: Lab) -> None:
    """Start Slurm on a running lab, and wait until all nodes are idle. Raises LabError."""
    if reason := missing():
        raise LabError(reason)
    key = os.urandom(128)
    config = _SLURM_CONF.format(last=len(lab.nodes) - 1, cpus=CPUS, gpus=GPUS)
    for node in ("ctl", *lab.nodes):
        _write(lab.files(node) / "run", key, {**_FILES, "slurm.conf": config})
        _daemon(lab, node, _MUNGED)
    _daemon(lab, "ctl", ["slurmctld"])
    for node in lab.nodes:
        _daemon(lab, node, ["slurmd"])
    deadline = time.monotonic() + START_TIMEOUT
    while set(states(lab).values()) != {"idle"}:
        if time.monotonic() > deadline:
            raise LabError(f"Slurm does not start: {states(lab)}; see {lab.files('ctl')}/run/slurm")
        time.sleep(0.1)


def run(
    lab: Lab, argv: Sequence[str | Path], env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab as `Lab.run` does, with Slurm's own commands."""
    return lab.run(argv, env={**ENVIRONMENT, **(env or {})}, **more)


def states(lab: Lab) -> dict[str, str]:
    """Return the state of each node, as `sinfo` prints it."""
    done = run(lab, ["sinfo", "--noheader", "--Node", "--format=%N %t"])
    return dict(line.split() for line in done.stdout.splitlines())


def jobs(lab: Lab) -> list[str]:
    """Return the jobs that have not ended: `ID STATE`."""
    done = run(lab, ["squeue", "--noheader", "--states=all", "--format=%i %T"])
    over = ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "PREEMPTED", "TIMEOUT")
    return [line for line in done.stdout.splitlines() if line.split()[1] not in over]


def _write(place: Path, key: bytes, files: Mapping[str, str]) -> None:
    """Write what the daemons of a host need below its /run."""
    for folder in ("munge", "slurm", "slurm/state", "slurm/spool"):
        (place / folder).mkdir(mode=0o755)
    (place / "munge/key-file").touch(mode=0o600)
    (place / "munge/key-file").write_bytes(key)
    for name, text in files.items():
        (place / "slurm" / name).write_text(text)


def _daemon(lab: Lab, node: str, argv: Sequence[str]) -> None:
    """Start a daemon, which leaves for the background once it is ready."""
    done = run(lab, argv, node=node)
    if done.returncode != 0:
        logs = lab.files(node) / "run/slurm"
        raise LabError(
            f"{argv[0]} does not start on {node}: {done.stderr.strip() or f'see {logs}'}"
        )
