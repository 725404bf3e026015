"""Launch on a Ray cluster that lasts as long as the script: its head is on the main node.

`ray start --block` keeps Ray in the foreground and exits with 1 if one of its processes dies, so a lost
raylet ends the run. A worker retries until the head answers (60 s in Ray 2.60). The ports besides the main
port are ephemeral, which the checks of reachability cover, except 10001, where the head serves Ray Client
if that is installed. Output of tasks and actors arrives in that of the script, as Ray sends it there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from orchestrator.errors import UsageError
from orchestrator.node import scratch
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher, Process, Share
from orchestrator.util.text import word_set

_JOIN_TIMEOUT = 300  # seconds for all nodes to join; torch.distributed waits as long for its store

# What to use instead of each option of `ray start` that the plan sets; None if there is nothing to choose.
_OWNED = {
    "--head": "the order of the hosts",
    "--address": "--main-address and --main-port",
    "--port": "--main-port",
    "--node-ip-address": "--main-address",
    "--num-gpus": "--nproc",
    "--block": None,
    "--temp-dir": None,
}
# Options of the head; a worker fails with some of them, and ignores the others.
_OF_HEAD = word_set(
    "--include-dashboard --dashboard-host --dashboard-port --ray-client-server-port "
    "--autoscaling-config --no-monitor --tracing-startup-hook"
)
_ADDRESS = "RAY_ADDRESS"
_USAGE_STATS = "RAY_USAGE_STATS_ENABLED"
_WAIT = """\
import os, sys, time, ray
wanted, limit, start = int(sys.argv[1]), int(sys.argv[2]), time.monotonic()
joined, why = [], ""
while len(joined) < wanted and time.monotonic() - start < limit:
    try:
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        joined = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        why = f": {error}"
    time.sleep(0.1)
if len(joined) < wanted:
    sys.exit(f"only {', '.join(joined) or 'no node'} of {wanted} nodes joined Ray within {limit} s{why}")
ray.shutdown()
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Run `argv[3:]` once `argv[1]` nodes are in the cluster of $RAY_ADDRESS, within `argv[2]` seconds."""


class Ray(Launcher):
    name = "ray"
    help = "the script once, on a Ray cluster of all nodes"
    needs = ("ray",)
    module = "ray.scripts.scripts"
    runs_once = True

    def check_job(self, job: Job) -> None:
        for before, argument in zip(
            ("", *job.launcher_arguments), job.launcher_arguments, strict=False
        ):
            option = argument.partition("=")[0]
            if option in _OWNED:
                instead = _OWNED[option]
                raise UsageError(
                    f"--launcher-arg {argument}: orch sets {option} itself",
                    remedy=f"use {instead}" if instead else None,
                )
            if not argument.startswith("--") and (not before.startswith("--") or "=" in before):
                raise UsageError(
                    f"--launcher-arg {argument}: not an option of `ray start`",
                    remedy="write arguments of the script after SCRIPT",
                )

    def check_variables(self, variables: Mapping[str, str]) -> None:
        if _ADDRESS in variables:
            raise UsageError(
                f"the variable {_ADDRESS} names a Ray cluster, and --launcher ray starts one of its own",
                remedy="leave it out of --env, --env-file and the inventory's env",
            )

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        address = f"{_host(share.main_address)}:{share.main_port}"
        own = share.address or (share.main_address if share.node_rank == 0 else None)
        argv = (
            *(share.python, "-u", "-m", self.module, "start"),
            *(_head(share) if share.node_rank == 0 else (f"--address={address}",)),
            *((f"--node-ip-address={own}",) if own else ()),
            f"--num-gpus={min(share.devices, share.gpus)}",
            *("--min-worker-port=0", "--max-worker-port=0"),  # older releases use 10002 to 19999
            *_arguments(share, job),
            "--block",
        )
        environment = {} if own is None else {"VLLM_HOST_IP": own}
        environment[_USAGE_STATS] = "0"
        environment = {n: v for n, v in environment.items() if n not in share.environment}
        ray = Process("launcher", argv, environment)
        if share.node_rank > 0:
            return (ray,)
        wait = (share.python, "-u", "-c", _WAIT, f"{share.nodes}", f"{_JOIN_TIMEOUT}")
        command = (*wait, *job.rank_command(share.python))
        variables = {**environment, _ADDRESS: address}
        return (ray, Process("rank-0", command, variables, rank=0, local_rank=0))


def _head(share: Share) -> Iterator[str]:
    yield "--head"
    yield f"--port={share.main_port}"
    yield f"--temp-dir={scratch.folder_of(share.run)}"  # the workers use the same path


def _arguments(share: Share, job: Job) -> Iterator[str]:
    """Yield the job's arguments for `ray start`; those of the head on the main node only."""
    given = job.launcher_arguments
    is_left_out = False
    for argument in given:
        if argument.startswith("--"):
            is_left_out = share.node_rank > 0 and argument.partition("=")[0] in _OF_HEAD
        if not is_left_out:
            yield argument
    if share.node_rank == 0 and not any(each.startswith("--include-dashboard") for each in given):
        yield "--include-dashboard=false"


def _host(address: str) -> str:
    """Return an address as a host before a port: IPv6 in brackets."""
    try:
        is_v6 = ipaddress.ip_address(address).version == 6
    except ValueError:
        return address
    return f"[{address}]" if is_v6 else address


LAUNCHER = Ray()
