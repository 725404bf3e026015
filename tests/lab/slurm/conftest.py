"""Hosts with a real Slurm, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from labkit import network, slurm
from labkit.lab import Lab

from ..orch import wait_until

LOGIN = "node0"


@pytest.fixture(scope="session")
def slurm_lab(_labs: Any) -> Iterator[Lab]:
    lab = _labs.up(4)
    try:
        slurm.start(lab)
        yield lab
    finally:
        _labs.down(lab)


@pytest.fixture(scope="session")
def login_lab(_labs: Any) -> Iterator[Lab]:
    """A login host, which orch reaches by SSH, and two nodes, which it does not reach by anything."""
    hook = "type filter hook input priority 0;"
    rules = f"table inet lab {{ chain i {{ {hook} ip saddr {network.address(-1)} drop; }}; }}"
    lab = _labs.up(3, nft={"node1": rules, "node2": rules})
    try:
        slurm.start(lab, LOGIN)
        start_up = f"echo Welcome\nexport SLURM_CONF={slurm.CONFIG}\n"
        (lab.files(LOGIN) / "home/.bashrc").write_text(start_up)
        yield lab
    finally:
        _labs.down(lab)


@pytest.fixture
def cluster(slurm_lab: Lab) -> Iterator[Lab]:
    """The lab, without jobs before the test; nothing of the test may be left in the queue or on a node."""
    yield slurm_lab
    _require_clean(slurm_lab, "ctl")


@pytest.fixture
def remote(login_lab: Lab) -> Iterator[Lab]:
    """The lab with a login host, under the same conditions."""
    yield login_lab
    _require_clean(login_lab, LOGIN)


def _require_clean(lab: Lab, head: str) -> None:
    left = slurm.jobs(lab, head)
    for job in left:
        slurm.run(lab, ["scancel", job.split()[0]], node=head)
    wait_until(lambda: slurm.jobs(lab, head) == [])
    assert left == [] or all(line.endswith("COMPLETING") for line in left)
    for node in lab.nodes:
        wait_until(lambda node=node: _strange(lab, node) == [])  # type: ignore[misc]


def _strange(lab: Lab, node: str) -> list[list[str]]:
    """Return the processes of a node that a fresh one does not have."""
    own = ("labkit.host", "sshd", "munged", "slurmctld", "slurmscriptd", "slurmd")
    return [
        process.argv
        for process in lab.processes(node)
        if process.argv and not any(word in " ".join(process.argv[:8]) for word in own)
    ]
