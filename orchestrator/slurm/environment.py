"""The environment that srun gets: its own variables are also its options."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.node.environment import is_of_slurm_step

# Where a login came from, which orch's agent would take for how it was reached.
_LOGIN = frozenset({"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"})
# These describe the job, but srun reads them as options of the step.
_OPTIONS = frozenset({"SLURM_CPUS_PER_TASK", "SLURM_JOB_NAME"})


def step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what would change how many CPUs, GPUs and tasks a step has."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _LOGIN | _OPTIONS and not is_of_slurm_step(name)
    }


def kept_for_ranks(environment: Mapping[str, str]) -> list[str]:
    """Return `NAME=VALUE` of what srun must not read, and ranks may."""
    return [f"{name}={environment[name]}" for name in sorted(_OPTIONS) if name in environment]
