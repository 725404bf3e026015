"""Tools that run a command on many hosts, as argument lists for the controller."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.lab import Lab

_FLOOR = Path(__file__).with_name("floor.py")


def ssh(lab: Lab, node: str, command: str) -> list[str]:
    """Plain ssh to one host."""
    return ["ssh", "-F", str(lab.dir / "ssh_config"), node, command]


def ssh_loop(lab: Lab, commands: Mapping[str, str]) -> list[str]:
    """A shell loop that starts an ssh to each host in the background and waits for all."""
    lines = [shlex.join(ssh(lab, node, command)) + " &" for node, command in commands.items()]
    return ["bash", "-c", "\n".join([*lines, "wait"])]


def pdsh(lab: Lab, nodes: Sequence[str], command: str) -> list[str]:
    """pdsh to all hosts at once; needs `pdsh_environment`."""
    return ["pdsh", "-R", "ssh", "-f", str(len(nodes)), "-w", ",".join(nodes), command]


def pdsh_environment(lab: Lab) -> dict[str, str]:
    """The environment with which pdsh's ssh logs in to the lab."""
    return {"PDSH_SSH_ARGS_APPEND": f"-F {lab.dir}/ssh_config"}


def clush(lab: Lab, nodes: Sequence[str], command: str) -> list[str]:
    """clush of ClusterShell, to all hosts at once."""
    config = f"-F {lab.dir}/ssh_config"
    return ["clush", "-f", str(len(nodes)), "-o", config, "-w", ",".join(nodes), command]


def bare_asyncssh(lab: Lab, nodes: Sequence[str], command: str) -> list[str]:
    """The minimum with the library that orch uses."""
    return [sys.executable, str(_FLOOR), str(lab.dir), command, *map(lab.address, nodes)]
