"""Slurm in a lab: slurmctld on the controller or a login host, and a slurmd on every other host.

lab = life.up(4, "demo")
slurm.start(lab)
slurm.run(lab, ["srun", "--nodes=4", "hostname"]).stdout

Jobs of the partition `main` take nodes from jobs in `low`, which are cancelled, and in `again`, which are
put back into the queue.

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
SlurmctldHost={head}
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={nodes} CPUs={cpus} RealMemory=1000 Gres=gpu:{gpus}
PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
PartitionName=low Nodes={nodes} MaxTime=INFINITE PriorityTier=1 PreemptMode=CANCEL
PartitionName=again Nodes={nodes} MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=short Nodes={nodes} MaxTime=1 PriorityTier=2 PreemptMode=OFF
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


def start(lab: Lab, head: str = "ctl") -> None:
    """Start Slurm on a running lab, and wait until all nodes are idle. Raises LabError.

    slurmctld runs on `head`: the controller, or a host, which then is no node of Slurm.
    """
    if reason := missing():
        raise LabError(reason)
    key = os.urandom(128)
    nodes = [node for node in lab.nodes if node != head]
    config = _SLURM_CONF.format(head=head, nodes=",".join(nodes), cpus=CPUS, gpus=GPUS)
    for node in (head, *nodes):
        _write(lab.files(node) / "run", key, {**_FILES, "slurm.conf": config})
        _daemon(lab, node, _MUNGED)
    _daemon(lab, head, ["slurmctld"])
    for node in nodes:
        _daemon(lab, node, ["slurmd"])
    deadline = time.monotonic() + START_TIMEOUT
    while set(states(lab, head).values()) != {"idle"}:
        if time.monotonic() > deadline:
            raise LabError(
                f"Slurm does not start: {states(lab, head)}; see {lab.files(head)}/run/slurm"
            )
        time.sleep(0.1)


def run(
    lab: Lab,
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    node: str = "ctl",
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab as `Lab.run` does, with Slurm's own commands."""
    return lab.run(argv, env={**ENVIRONMENT, **(env or {})}, node=node, **more)


def states(lab: Lab, head: str = "ctl") -> dict[str, str]:
    """Return the state of each node, as `sinfo` prints it on `head`."""
    argv = ["sinfo", "--noheader", "--Node", "--format=%N %t", "--partition=main"]
    return dict(line.split() for line in run(lab, argv, node=head).stdout.splitlines())


def jobs(lab: Lab, head: str = "ctl") -> list[str]:
    """Return the jobs that have not ended, as `squeue` prints them on `head`: `ID STATE`."""
    argv = ["squeue", "--noheader", "--states=all", "--format=%i %T"]
    done = run(lab, argv, node=head)
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
