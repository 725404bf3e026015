"""Options for torchrun from the user, as arguments or PET_* variables; orch sets some of them itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher
from orchestrator.util.text import word_set

# What to use instead of each option that the plan sets; None if there is nothing to choose.
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
_RUN_PATH = "--run-path"  # as an argument only: the plan must know that ranks are not processes
_LEAVE_OUT = "leave it out of --env, --env-file and the inventory's env"
_PREFIX = "PET_"  # torchrun reads --max-restarts from PET_MAX_RESTARTS
_NUMBERS: dict[str, Callable[[str], object]] = {
    "--max-restarts": int,
    "--monitor-interval": float,
    "--shutdown-timeout": int,
    "--virtual-local-rank": int,
}
_MAX_RESTARTS = "--max-restarts"
# Options that torchrun reads from variables unless the command line has them.
_FROM_VARIABLES = word_set(
    "--nnodes --nproc-per-node --rdzv-backend --rdzv-endpoint --rdzv-id --rdzv-conf --standalone "
    "--max-restarts --monitor-interval --start-method --event-log-handler --role --module --no-python "
    "--run-path --log-dir --redirects --tee --local-ranks-filter --duplicate-stdout-filters "
    "--duplicate-stderr-filters --node-rank --master-addr --master-port --local-addr --logs-specs "
    "--numa-binding --signals-to-handle --shutdown-timeout --virtual-local-rank"
)


class TorchrunOptions(Launcher):
    """The options of torchrun, which `fabric run` passes on to it, and Accelerate adds to its own."""

    owned: Mapping[str, str | None] = _OWNED
    """The options that the plan sets, each with what to use instead (None: there is nothing to choose)."""

    def check_job(self, job: Job) -> None:
        check_arguments(self.name, job.launcher_arguments, self.owned)

    def check_variables(self, variables: Mapping[str, str]) -> None:
        for variable, value in variables.items():
            option = _option_of_variable(variable)
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

    def option_of_variable(self, variable: str) -> str | None:
        option = _option_of_variable(variable)
        return option if option in _FROM_VARIABLES else None

    def restarts_ranks(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        return restarts_of(argv, environment) != "0"

    def trial_arguments(self, arguments: Sequence[str]) -> tuple[str, ...]:
        kept, before = [], ""
        for argument in arguments:
            is_value = _is_max_restarts(before) and "=" not in before
            if not is_value and not _is_max_restarts(argument):
                kept.append(argument)
            before = argument
        return tuple(kept)


def check_arguments(
    name: str, arguments: Sequence[str], owned: Mapping[str, str | None] = _OWNED
) -> None:
    """Raise UsageError if `arguments` for the launcher `name` include an option that the plan sets, one of
    `owned`, or a word that the launcher would take for the script.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        is_value = before.startswith("-") and "=" not in before
        if argument == "--" or not (argument.startswith("-") or is_value):
            raise UsageError(
                f"--launcher-arg {argument}: not an option, so {name} would take it for the script",
                remedy="write arguments of the script after SCRIPT",
            )
        option = _find_owned(argument, owned)
        if option is not None:
            instead = owned[option]
            raise UsageError(
                f"--launcher-arg {argument}: orch sets {option} itself",
                remedy=f"use {instead}" if instead else None,
            )


def sets_restarts(arguments: Sequence[str]) -> bool:
    """Tell whether --max-restarts is among the arguments."""
    return any(map(_is_max_restarts, arguments))


def restarts_of(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return how often the torchrun of this command line restarts ranks, as it was written."""
    own = list(argv[: argv.index("--")] if "--" in argv else argv)
    restarts = environment.get("PET_MAX_RESTARTS", "0")
    for word, after in zip(own, (*own[1:], ""), strict=False):
        if _is_max_restarts(word):
            _, equals, value = word.partition("=")
            restarts = value if equals else after
    return restarts


def _is_max_restarts(argument: str) -> bool:
    """Tell whether torchrun takes `argument` for its --max-restarts, in full or abbreviated."""
    option = option_of(argument)
    return len(option) > len("--m") and _MAX_RESTARTS.startswith(option)


def option_of(argument: str) -> str:
    """Return the option of `--an_option=VALUE` as torchrun documents it: `--an-option`."""
    return argument.split("=", 1)[0].replace("_", "-")


def _option_of_variable(variable: str) -> str:
    """Return the option that a variable sets: `--max-restarts` for PET_MAX_RESTARTS; empty for none."""
    name = variable.removeprefix(_PREFIX)
    return "" if name == variable else option_of(f"--{name.lower()}")


def _find_owned(argument: str, owned: Mapping[str, str | None]) -> str | None:
    """Return the one of `owned` that `argument` sets, in full or abbreviated, as argparse allows."""
    option = option_of(argument)
    if option in owned or not option.startswith("--"):
        return option if option in owned else None
    return next((each for each in owned if each.startswith(option)), None)
