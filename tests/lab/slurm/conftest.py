"""Four hosts with a real Slurm, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from labkit import slurm
from labkit.lab import Lab

from ..orch import wait_until


@pytest.fixture(scope="session")
def slurm_lab(_labs: Any) -> Iterator[Lab]:
    lab = _labs.up(4)
    try:
        slurm.start(lab)
        yield lab
    finally:
        _labs.down(lab)


@pytest.fixture
def cluster(slurm_lab: Lab) -> Iterator[Lab]:
    """The lab, without jobs before the test; nothing of the test may be left in the queue or on a node."""
    yield slurm_lab
    left = slurm.jobs(slurm_lab)
    for job in left:
        slurm.run(slurm_lab, ["scancel", job.split()[0]])
    wait_until(lambda: slurm.jobs(slurm_lab) == [])
    assert left == [] or all(line.endswith("COMPLETING") for line in left)
    for node in slurm_lab.nodes:
        wait_until(lambda node=node: _strange(slurm_lab, node) == [])  # type: ignore[misc]


def _strange(lab: Lab, node: str) -> list[list[str]]:
    """Return the processes of a node that a fresh one does not have."""
    own = ("labkit.host", "sshd", "munged", "slurmd")
    return [
        process.argv
        for process in lab.processes(node)
        if process.argv and not any(word in " ".join(process.argv[:8]) for word in own)
    ]
