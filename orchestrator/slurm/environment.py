"""The environment that Slurm's programs get: their own variables are also their options."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.node.environment import is_of_slurm_step

# Where a login came from, which orch's agent would take for how it was reached.
_LOGIN = frozenset({"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"})
# These describe the job, but srun reads them as options of the step.
_OPTIONS = frozenset({"SLURM_CPUS_PER_TASK", "SLURM_JOB_NAME"})
# Options of sbatch that would make something else than one job which is submitted and left to itself.
_REFUSED = frozenset({"SBATCH_ARRAY_INX", "SBATCH_WAIT"})
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")

CLEAN_LOGIN = f"""\
for name in $(env | sed -n 's/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
    case $name in {"|".join(_KEPT)}) ;; *) unset "$name" ;; esac
done
unset {" ".join(sorted(_LOGIN | _REFUSED))}
command -v srun >/dev/null || {{
    said=$("${{SHELL:-sh}}" -lc 'echo; echo "$PATH"; echo "$SLURM_CONF"' </dev/null 2>/dev/null | tail -n 2)
    conf=${{said#*
}}
    case $said in /*) PATH=${{said%%
*}} ;; esac
    case $conf in /*) export SLURM_CONF="$conf" ;; esac
}}
"""
"""The start of a script (POSIX sh) that runs Slurm's programs in a login over SSH.

Such a login reads fewer start-up files than one at a terminal, and many sites add Slurm to PATH in those.
"""


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what a surrounding job says of itself, and what sbatch must not read."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or not (name.startswith("SLURM_") or name in _REFUSED)
    }


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
