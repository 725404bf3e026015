"""Launch with Hugging Face Accelerate, as `accelerate launch` on every node.

Its launcher runs torchrun in its own process, with `num_processes // num_machines` ranks, and uses
num_processes for nothing else (Accelerate 1.15: `prepare_multi_gpu_env`), so each node is given its own
number of ranks times the number of nodes: nodes need not have as many. Other ways of Accelerate are never
taken: pdsh, for DeepSpeed on several nodes, and a single process without a rank, for configurations of one
device and for CPUs.

One configuration holds for all nodes: the file of --launcher-arg=--config_file=FILE, or the one beside the
script. Without a file, the command line gives all that a node's own default_config.yaml would change.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.accelerate_config import find_config, read_config
from orchestrator.plan.launchers.base import Process, Share
from orchestrator.plan.launchers.script_text import line_of_import
from orchestrator.plan.launchers.torchrun_options import TorchrunOptions, option_of, restarts_of
from orchestrator.util.text import escaped, word_set

_CONFIG_FILE = "--config-file"
_USE_CPU = "ACCELERATE_USE_CPU"
_PRECISION = "ACCELERATE_MIXED_PRECISION"
_ON_CPU = "-e ACCELERATE_USE_CPU=true"
_OWNED = {
    "--num-machines": "--nodes and --exclude",
    "--num-processes": "--nproc",
    "--machine-rank": "the order of the hosts",
    "--main-process-ip": "--main-address",
    "--main-process-port": "--main-port",
    "--gpu-ids": "devices: [0, 2] in the inventory",
    "--cpu": _ON_CPU,
    "--same-network": None,
    "--rdzv-backend": None,
    "--rdzv-conf": None,
    "--mpirun-hostfile": None,
    "--deepspeed-hostfile": "--nodes and --exclude",
    "--deepspeed-exclusion-filter": "--nodes and --exclude",
    "--deepspeed-inclusion-filter": "--nodes and --exclude",
    "--deepspeed-multinode-launcher": None,
    "--tpu": None,
    "--tpu-cluster": None,
    "--module": "--module",
    "-m": "--module",
    "--no-python": "--no-python before SCRIPT",
}
# Options that choose a way to start ranks; each has Accelerate run torchrun.
_WAYS = word_set("--multi-gpu --use-fsdp --use-deepspeed --use-megatron-lm")
# Accelerate gives torchrun its own values of these.
_OF_ACCELERATE = word_set(
    "--nnodes --nproc-per-node --node-rank --master-addr --master-port --rdzv-backend --rdzv-conf "
    "--max-restarts --monitor-interval --log-dir --tee --role --module --no-python"
)


class Accelerate(TorchrunOptions):
    name = "accelerate"
    help = "Hugging Face's `accelerate launch`"
    needs = ("torch", "accelerate")
    module = "accelerate.commands.launch"
    owned = _OWNED

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        is_alone = share.world_size == 1
        environment = {} if share.gpus or _USE_CPU in job.environment else {_USE_CPU: "true"}
        own = (
            share.python,
            *("-m", self.module),
            f"--num_machines={share.nodes}",
            f"--machine_rank={share.node_rank}",
            f"--main_process_ip={share.main_address}",
            f"--main_process_port={share.main_port}",
            f"--num_processes={share.devices * share.nodes}",
            "--rdzv_backend=static",
            "--same_network",
            "--gpu_ids=all",
            "--deepspeed_multinode_launcher=standard",
            *_way(job.launcher_arguments, is_alone=is_alone),
        )
        if is_alone:
            # One process is started without torchrun, and without $PYTHON_EXEC and its rank.
            own = (*own, "--no_python", "--")
            command = job.rank_command(share.python)
            environment.update(_rank_zero(share))
        else:
            own = (
                *own,
                *(("--module",) if job.module else ("--no_python",) if job.program else ()),
                "--",
            )
            command = (job.script, *job.arguments)
        program_at = len(own) if is_alone or job.program else None
        return (Process("launcher", (*own, *command), environment, program_at=program_at),)

    def configure(self, job: Job, folder: Path | None) -> Job:
        given = _config_of(job.launcher_arguments)
        if given == "":
            raise UsageError(
                "--launcher-arg --config_file: it names no file",
                remedy="--launcher-arg=--config_file=accelerate_config.yaml",
            )
        file = Path(given) if given is not None else _found(job, folder)
        if file is None:
            return job
        arguments = job.launcher_arguments
        if given is None:
            arguments = (f"--config_file={file}", *arguments)
        options = set(map(option_of, arguments))
        if folder is None or _is_elsewhere(file, job):
            if not options & _WAYS:
                raise UsageError(
                    f"--config_file {escaped(str(file))}: orch must read its distributed_type, and it is "
                    "not in the folder that is copied to the nodes",
                    remedy="put it there, and give its path from where the ranks start; or name the type, "
                    "as in --launcher-arg=--use_fsdp",
                )
            return job
        config = read_config(folder / file)
        environment = {}
        if config.runs_on_cpu or config.has_other_accelerators:
            environment[_USE_CPU] = "true" if config.runs_on_cpu else "false"
        if config.gpu_ids is not None:
            environment["CUDA_VISIBLE_DEVICES"] = config.gpu_ids
        if not config.starts_ranks and not options & _WAYS:
            arguments = (*arguments, "--multi_gpu")
        return replace(
            job,
            launcher_arguments=arguments,
            environment={**environment, **job.environment},
        )

    def check_variables(self, variables: Mapping[str, str]) -> None:
        super().check_variables(variables)
        if _PRECISION in variables:
            raise UsageError(
                f"`accelerate launch` sets {_PRECISION} itself",
                remedy="use --launcher-arg=--mixed_precision=..., and leave the variable out",
            )

    def option_of_variable(self, variable: str) -> str | None:
        option = super().option_of_variable(variable)
        return None if option in _OF_ACCELERATE else option

    def why_chosen(self, text: str, job: Job, folder: Path | None) -> str | None:
        line = line_of_import(text, "accelerate")
        file = None if line is None or job.elastic is not None else _found(job, folder)
        if file is None:
            return None
        return f"imports it (line {line}) and {escaped(str(file))} is its configuration"

    def restarts_ranks(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        return restarts_of(argv, {}) != "0"

    def trial_arguments(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return ()


def _way(arguments: Sequence[str], *, is_alone: bool) -> tuple[str, ...]:
    """Return the options for the way to start ranks, and those of the user.

    Accelerate refuses --multi_gpu for one rank.
    """
    options = set(map(option_of, arguments))
    if is_alone:
        arguments = [each for each in arguments if option_of(each) != "--multi-gpu"]
    if _CONFIG_FILE in options:
        return tuple(arguments)
    return (
        *(() if is_alone or options & _WAYS else ("--multi_gpu",)),
        *(() if "--mixed-precision" in options else ("--mixed_precision=no",)),
        *(() if "--dynamo-backend" in options else ("--dynamo_backend=no",)),
        *arguments,
    )


def _rank_zero(share: Share) -> dict[str, str]:
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": share.main_address,
        "MASTER_PORT": str(share.main_port),
    }


def _config_of(arguments: Sequence[str]) -> str | None:
    """Return the file of the last --config_file."""
    found = None
    for argument, after in zip(arguments, (*arguments[1:], ""), strict=False):
        if option_of(argument) == _CONFIG_FILE:
            _, equals, value = argument.partition("=")
            found = value if equals else after
    return found


def _is_elsewhere(file: Path, job: Job) -> bool:
    """Tell whether a path from where the ranks start is not in the folder that is copied to the nodes."""
    below = posixpath.normpath(posixpath.join(job.folder, file))
    return file.is_absolute() or below.split("/")[0] == ".."


def _found(job: Job, folder: Path | None) -> Path | None:
    """Return the configuration beside the script or where it starts, relative to `folder`."""
    if folder is None:
        return None
    beside = "" if job.module else posixpath.dirname(job.script)
    file = find_config(folder / each for each in (beside, ""))
    return None if file is None else file.relative_to(folder)


LAUNCHER = Accelerate()
