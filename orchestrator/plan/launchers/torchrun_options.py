"""Options that a person may give torchrun, as words or PET_* variables: what orch does not set itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher

# What to use instead of each option that the plan sets; None where there is nothing to choose.
_OWNED = {
    "--nnodes": "--nodes and --exclude",
    "--num-nodes": "--nodes and --exclude",
    "--nproc-per-node": "--nproc",
    "--devices": "--nproc",
    "--node-rank": "the order of the hosts",
    "--master-addr": "--main-address",
    "--main-address": "--main-address",
    "--master-port": "--main-port",
    "--main-port": "--main-port",
    "--rdzv-id": "--name",
    "--rdzv-backend": None,
    "--rdzv-endpoint": None,
    "--rdzv-conf": None,
    "--local-addr": None,
    "--standalone": None,
    "--no-python": "--no-python before SCRIPT",
    "--module": "--module",
    "-m": "--module",
}
_RUN_PATH = (
    "--run-path"  # not to be had by a variable: the plan must know that ranks are not processes
)
_LEAVE_OUT = "leave it out of --env, --env-file and the inventory's env"
_VARIABLE = "PET_"  # torchrun's options as variables: PET_MAX_RESTARTS is --max-restarts
_NUMBERS: dict[str, Callable[[str], object]] = {
    "--max-restarts": int,
    "--monitor-interval": float,
    "--shutdown-timeout": int,
    "--virtual-local-rank": int,
}
_MAX_RESTARTS = "--max-restarts"


# Those that torchrun takes from PET_<NAME> where the command line does not have them.
_FROM_VARIABLES = frozenset(
    [
        "nnodes",
        "nproc_per_node",
        "rdzv_backend",
        "rdzv_endpoint",
        "rdzv_id",
        "rdzv_conf",
        "standalone",
        "max_restarts",
        "monitor_interval",
        "start_method",
        "event_log_handler",
        "role",
        "module",
        "no_python",
        "run_path",
        "log_dir",
        "redirects",
        "tee",
        "local_ranks_filter",
        "duplicate_stdout_filters",
        "duplicate_stderr_filters",
        "node_rank",
        "master_addr",
        "master_port",
        "local_addr",
        "logs_specs",
        "numa_binding",
        "signals_to_handle",
        "shutdown_timeout",
        "virtual_local_rank",
    ]
)


class TorchrunOptions(Launcher):
    """What torchrun and `fabric run`, which calls it, have in common: how they take options."""

    def check_job(self, job: Job) -> None:
        check_arguments(self.name, job.launcher_arguments)

    def check_variables(self, variables: Mapping[str, str]) -> None:
        check_variables(variables)

    def option_of_variable(self, variable: str) -> str | None:
        name = variable.removeprefix(_VARIABLE).lower()
        if not variable.startswith(_VARIABLE) or name not in _FROM_VARIABLES:
            return None
        return option_of(f"--{name}")

    def restarts_ranks(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        return restarts_of(argv, environment) != "0"

    def without_restarts(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return without_restarts(arguments)


def check_arguments(name: str, arguments: Sequence[str]) -> None:
    """Raise UsageError when `arguments` for the launcher are the plan's own, or would be taken for the
    script.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        is_value = before.startswith("-") and "=" not in before
        if argument == "--" or not (argument.startswith("-") or is_value):
            raise UsageError(
                f"--launcher-arg {argument}: not an option, so {name} would take it for the script",
                remedy="write arguments of the script after SCRIPT",
            )
        option = _owned(argument)
        if option is not None:
            instead = _OWNED[option]
            raise UsageError(
                f"--launcher-arg {argument}: orch sets {option} itself",
                remedy=f"use {instead}" if instead else None,
            )


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise UsageError when torchrun would take one of the job's `variables` for an option of the plan's
    own, or could not read it.
    """
    for variable, value in variables.items():
        if not variable.startswith(_VARIABLE):
            continue
        option = option_of(f"--{variable.removeprefix(_VARIABLE).lower()}")
        if option in _OWNED or option == _RUN_PATH:
            instead = _OWNED.get(option, f"--launcher-arg={option}")
            raise UsageError(
                f"torchrun takes the variable {variable} for its {option}, which orch sets itself",
                remedy=_LEAVE_OUT + (f", and use {instead}" if instead else ""),
            )
        try:
            _NUMBERS.get(option, str)(value)
        except ValueError:
            raise UsageError(
                f"torchrun takes the variable {variable} for its {option}, and it is not a number",
                remedy=f"set it to a number, or {_LEAVE_OUT}",
            ) from None


def sets_restarts(arguments: Sequence[str]) -> bool:
    """Tell whether --max-restarts is among the arguments."""
    return any(_is_max_restarts(argument) for argument in arguments)


def restarts_of(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return how often the torchrun of this command line starts ranks again, as it was written."""
    own = list(argv[: argv.index("--")] if "--" in argv else argv)
    asked = environment.get("PET_MAX_RESTARTS", "0")
    for word, after in zip(own, (*own[1:], ""), strict=False):
        if _is_max_restarts(word):
            _, equals, value = word.partition("=")
            asked = value if equals else after
    return asked


def without_restarts(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments without --max-restarts and its value."""
    kept = []
    before = ""
    for argument in arguments:
        is_value = _is_max_restarts(before) and "=" not in before
        if not is_value and not _is_max_restarts(argument):
            kept.append(argument)
        before = argument
    return tuple(kept)


def _is_max_restarts(argument: str) -> bool:
    """Tell whether torchrun takes `argument` for its --max-restarts, whole or shortened."""
    return len(option_of(argument)) > len("--m") and _MAX_RESTARTS.startswith(option_of(argument))


def option_of(argument: str) -> str:
    """Return the option of `--an_option=VALUE` as torchrun documents it: `--an-option`."""
    return argument.split("=", 1)[0].replace("_", "-")


def _owned(argument: str) -> str | None:
    """Return the plan's own option that `argument` is, or is short for: argparse takes beginnings too."""
    option = option_of(argument)
    if option in _OWNED or not option.startswith("--"):
        return option if option in _OWNED else None
    return next((owned for owned in _OWNED if owned.startswith(option)), None)
