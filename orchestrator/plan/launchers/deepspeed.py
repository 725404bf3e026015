"""Launch the ranks as DeepSpeed's launcher does, `deepspeed.launcher.launch`, without a process of it.

That program sets the variables of env:// and some of its own, passes `--local_rank=N` to the script, and
starts a process for each device (DeepSpeed 0.19). orch does the same, so a node needs no pdsh and no host
list, and the end of a rank is seen as it is: that program reports a rank killed by SIGKILL as exit code
247, and `deepspeed` itself, if it was killed, as 0. Local ranks count from 0 on every node; there they are
the rank modulo the node's devices, which is wrong on uneven nodes (microsoft/DeepSpeed#3408).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher, Process, ScriptProblem, Share
from orchestrator.plan.launchers.deepspeed_env import deepspeed_variables
from orchestrator.plan.launchers.direct import environment_of, rank_process
from orchestrator.plan.launchers.script_text import line_of_import, parse
from orchestrator.plan.masking import mask_in_logs

_NO_LOCAL_RANK = "--no_local_rank"
_CONFIG_OPTIONS = ("--deepspeed", "--deepspeed_config", "--deepspeed-config")
_LOCAL_RANK_OPTIONS = {"--local_rank", "--local-rank"}
# Adds no --local_rank.
_ADDS_CONFIG = "deepspeed.add_config_arguments"


class DeepSpeed(Launcher):
    name = "deepspeed"
    help = "orch starts every rank as DeepSpeed does, with --local_rank"

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        return tuple(_rank(share, job, local_rank) for local_rank in range(share.devices))

    def check_job(self, job: Job) -> None:
        for argument in job.launcher_arguments:
            if argument.replace("-", "_") != "__no_local_rank":
                raise UsageError(
                    f"--launcher-arg {argument}: orch starts the ranks itself, and takes only "
                    f"{_NO_LOCAL_RANK}",
                    remedy="orch's own options: --nodes, --exclude, --nproc, --main-address, --main-port",
                )

    def configure(self, job: Job, folder: Path | None) -> Job:
        variables = deepspeed_variables()
        mask_in_logs(variables, frozenset(variables))
        unnamed = frozenset(variables.keys() - job.environment.keys())
        return replace(
            job,
            environment={**variables, **job.environment},
            secrets=job.secrets | unnamed,
        )

    def why_chosen(self, text: str, job: Job, folder: Path | None) -> str | None:
        line = line_of_import(text, "deepspeed")
        config = next((word for word in job.arguments if _is_config_option(word)), None)
        if line is None or config is None or not any(each in text for each in _LOCAL_RANK_OPTIONS):
            return None
        return f"imports it (line {line}), takes --local_rank, and gets {config.partition('=')[0]}"

    def check_script(self, text: str, job: Job) -> ScriptProblem | None:
        if job.launcher_arguments or "local_rank" in text or "local-rank" in text:
            return None
        line = _line_of_own_options(text)
        if line is None:
            return None
        return ScriptProblem(
            line,
            "the script parses its arguments without --local_rank, which every rank gets",
            f"--launcher-arg={_NO_LOCAL_RANK}, or add that option to the script (type=int)",
        )

    def trial_arguments(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return (_NO_LOCAL_RANK,)


def _is_config_option(word: str) -> bool:
    return word.partition("=")[0] in _CONFIG_OPTIONS


def _rank(share: Share, job: Job, local_rank: int) -> Process:
    environment = {
        **environment_of(share, local_rank),
        "LOCAL_SIZE": str(share.devices),
        "CROSS_RANK": str(share.node_rank),
        "CROSS_SIZE": str(share.nodes),
    }
    if not job.launcher_arguments:
        job = replace(job, arguments=(f"--local_rank={local_rank}", *job.arguments))
    return rank_process(share, local_rank, job.rank_command(share.python), environment)


def _line_of_own_options(text: str) -> int | None:
    """Return the line that parses the options of one argparse parser, all of them added in the script.

    None if there is no such line, if there are several parsers, or if the parser has parents or is passed
    to other code, which may add options.
    """
    tree = parse(text)
    if tree is None:
        return None
    made = [node for node in ast.walk(tree) if _makes_parser(node)]
    if len(made) != 1:
        return None
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value in made
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(_passes_on(call, names) for call in calls):
        return None
    lines = [call.lineno for call in calls if _parses(call, names)]
    return min(lines, default=None)


def _makes_parser(node: ast.AST) -> bool:
    match node:
        case ast.Call(
            func=ast.Name(id="ArgumentParser") | ast.Attribute(attr="ArgumentParser"),
            keywords=words,
        ):
            return not any(word.arg in (None, "parents") for word in words)
    return False


def _passes_on(call: ast.Call, names: set[str]) -> bool:
    given = [*call.args, *(word.value for word in call.keywords)]
    is_given = any(isinstance(each, ast.Name) and each.id in names for each in given)
    return is_given and ast.unparse(call.func) != _ADDS_CONFIG


def _parses(call: ast.Call, names: set[str]) -> bool:
    match call:
        case ast.Call(
            func=ast.Attribute(attr="parse_args", value=ast.Name(id=name)), args=[], keywords=[]
        ):
            return name in names
    return False


LAUNCHER = DeepSpeed()
