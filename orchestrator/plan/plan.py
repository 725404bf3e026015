"""Inventory + Facts + Job -> Plan: what runs on each node, exactly, and nothing done yet."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import PlanError, UsageError
from orchestrator.inventory import Host
from orchestrator.plan.facts import Facts
from orchestrator.plan.job import Elastic, Job
from orchestrator.plan.launchers import registry
from orchestrator.plan.launchers.base import Launcher, Process, Share
from orchestrator.plan.network import Network, interface_variables

# A job starts from its plan alone, not from what an outer job or a login shell left behind.
_UNSET = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE",
    "NODE_RANK", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_ERROR_FILE", "PYTHON_EXEC", "ORCH_PYTHON",
)  # fmt: skip

# Seconds. Of an agent that was not heard of for 15 s by the reader's own clock torchrun believes that it is
# gone, and each is heard of every 5 s (torch 2.13: `_BackendRendezvousStateHolder._sanitize`).
_CLOCKS_APART = 8.0


@dataclass(frozen=True)
class NodePlan:
    """What runs on one node.

    `environment` is laid over the node's own, after `unset` is taken from that; each process has more
    of its own. Ranks `first_rank` to `first_rank + devices - 1` live here. `interface` and `address` are
    the node's own on the network where the ranks meet, None where they are not known.
    """

    host: Host
    node_rank: int
    devices: int
    first_rank: int
    interface: str | None
    address: str | None
    workdir: str
    environment: Mapping[str, str]
    unset: tuple[str, ...]
    processes: tuple[Process, ...]
    folder: str = ""

    @property
    def cwd(self) -> str:
        """Where the processes start: `folder` of the working folder, or that itself."""
        return posixpath.join(self.workdir, self.folder) if self.folder else self.workdir

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def ranks(self) -> range:
        return range(self.first_rank, self.first_rank + self.devices)

    def spec(self, run: str, attempt: int) -> dict[str, Any]:
        """Return the request that starts this on the node (`node/supervise.py` reads it)."""
        return {
            "run": run,
            "node": self.name,
            "attempt": attempt,
            "cwd": self.cwd,
            "env": dict(self.environment),
            "unset": list(self.unset),
            "processes": [
                {
                    "name": process.name,
                    "argv": list(process.argv),
                    "env": dict(process.environment),
                    "rank": process.rank,
                    "local_rank": process.local_rank,
                    "program_at": process.program_at,
                }
                for process in self.processes
            ],
        }


@dataclass(frozen=True)
class Plan:
    """What runs on every node, in node order; main is the first.

    Where it is `elastic` (None: it needs all nodes), the launchers go on without some of them, and which
    ranks live where is up to them. `launcher` is a name. What has to be known of that launcher while the
    job runs is part of the plan, so that a run can be read without the package that the launcher is from:
    whether the job is started `once_per_node`, and whether failed ranks are started again
    (`restarts_ranks`).
    """

    run: str
    launcher: str
    main_address: str
    main_port: int
    subnet: str | None
    world_size: int
    nodes: tuple[NodePlan, ...]
    secrets: frozenset[str]
    elastic: Elastic | None = None
    once_per_node: bool = False
    restarts_ranks: bool = False

    @property
    def restarts_itself(self) -> bool:
        """Whether the launcher starts failed ranks again: then only its own end is the end."""
        return self.elastic is not None or self.restarts_ranks

    @property
    def expected_ranks(self) -> frozenset[int]:
        """The ranks that orch sees: of a script that starts ranks itself, the first of each node."""
        if self.once_per_node:
            return frozenset(node.first_rank for node in self.nodes)
        return frozenset(range(self.world_size))


def count_devices(host: Host, facts: Facts, job: Job) -> int:
    """Return the ranks of one node: as asked for, else its GPUs, else 1."""
    asked = job.devices if job.devices is not None else host.devices
    return max(1, count_gpus(host, facts, job)) if asked == "auto" else int(asked)


def count_gpus(host: Host, facts: Facts, job: Job) -> int:
    """Return the GPUs that ranks will see: the node's, as far as the job's environment shows them."""
    visible = {**host.env, **job.environment}.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return facts.gpus
    shown = [entry for entry in visible.split(",") if entry.strip() not in ("", "-1")]
    return min(facts.gpus, len(shown))


def choose_launcher(hosts: Sequence[Host], job: Job) -> Launcher:
    """Return the launcher of all nodes. Raises UsageError when they do not agree on one that there is."""
    names = sorted({job.launcher or host.launcher or registry.DEFAULT for host in hosts})
    launchers = [registry.find(name) for name in names]
    if len(launchers) > 1:
        raise UsageError(
            f"the inventory gives these nodes different launchers: {', '.join(names)}",
            remedy="choose one for the whole job with --launcher",
        )
    return launchers[0]


def make_plan(
    run: str,
    hosts: Sequence[Host],
    facts: Sequence[Facts],
    job: Job,
    network: Network,
    main_port: int,
) -> Plan:
    """Return what runs where. Node rank is the position in `hosts`; ranks are numbered through.

    Raises UsageError or PlanError when the job cannot be planned on these nodes.
    """
    launcher = choose_launcher(hosts, job)
    launcher.check_job(job)
    for host in hosts:
        launcher.check_variables({**host.env, **job.environment})
    if job.elastic is not None:
        _check_elastic(launcher, job.elastic, len(hosts))
        _check_clocks(hosts, facts)
    counts = [count_devices(h, f, job) for h, f in zip(hosts, facts, strict=True)]
    world_size = sum(counts)
    nodes = []
    for node_rank, (host, fact) in enumerate(zip(hosts, facts, strict=True)):
        share = Share(
            run=run,
            python=expand(host.python, fact.home),
            node_rank=node_rank,
            nodes=len(hosts),
            devices=counts[node_rank],
            gpus=count_gpus(host, fact, job),
            first_rank=sum(counts[:node_rank]),
            world_size=world_size,
            main_address=network.address,
            main_port=main_port,
            address=network.addresses[node_rank],
            is_uniform=len(set(counts)) == 1,
        )
        interface = network.interfaces[node_rank]
        nodes.append(
            NodePlan(
                host=host,
                node_rank=node_rank,
                devices=share.devices,
                first_rank=share.first_rank,
                interface=interface,
                address=network.addresses[node_rank],
                workdir=workdir_of(host, fact, job),
                environment=_environment(host, fact, job, share, interface),
                unset=_UNSET,
                processes=_processes(launcher, share, job),
                folder=job.folder,
            )
        )
    return Plan(
        run=run,
        launcher=launcher.name,
        main_address=network.address,
        main_port=main_port,
        subnet=network.subnet,
        world_size=world_size,
        nodes=tuple(nodes),
        secrets=job.secrets,
        elastic=job.elastic,
        once_per_node=launcher.once_per_node,
        restarts_ranks=any(
            launcher.restarts_ranks(process.argv, node.environment)
            for node in nodes
            for process in node.processes
        ),
    )


def _processes(launcher: Launcher, share: Share, job: Job) -> tuple[Process, ...]:
    """Return what runs on one node. Raises PlanError where orch could not follow that."""
    processes = launcher.processes(share, job)
    seen = 1 if launcher.once_per_node else share.devices
    ranks = range(share.first_rank, share.first_rank + seen)
    expected = [f"rank-{rank}" for rank in ranks]
    names = [process.name for process in processes]
    of_ranks = ["launcher" if p.rank is None else f"rank-{p.rank}" for p in processes]
    if names != of_ranks or names not in (["launcher"], expected):
        raise PlanError(
            f"launcher {launcher.name} would start {', '.join(names) or 'nothing'}, where orch can follow "
            f"either launcher (of rank None) or {', '.join(expected)}",
            remedy="report this to the author of that launcher",
        )
    return processes


def _check_elastic(launcher: Launcher, elastic: Elastic, nodes: int) -> None:
    """Raise UsageError when the launcher cannot be elastic, or not with so many nodes."""
    if not launcher.can_be_elastic:
        raise UsageError(
            f"{elastic}: with --launcher {launcher.name} nobody starts ranks again",
            remedy="use --launcher torchrun, or --restarts alone, with which orch starts all of it again",
        )
    if not elastic.fewest <= nodes <= elastic.most:
        remedy = "choose fewer with --nodes" if nodes > elastic.most else "lower MIN, or add hosts"
        raise UsageError(f"{elastic}: there are {nodes} nodes", remedy=remedy)


def _check_clocks(hosts: Sequence[Host], facts: Sequence[Facts]) -> None:
    """Raise PlanError when the nodes of an elastic job would take each other for dead."""
    by_skew = sorted(zip(facts, hosts, strict=True), key=lambda each: each[0].clock_skew)
    (first, slow), (last, fast) = by_skew[0], by_skew[-1]
    apart = last.clock_skew - first.clock_skew
    if apart - first.clock_error - last.clock_error > _CLOCKS_APART:
        raise PlanError(
            f"--elastic: the clock of {fast.name} is {apart:.0f} s ahead of that of {slow.name}: "
            "torchrun would believe that one of them is dead",
            remedy="set the clocks right: `orch preflight --only clock` says how",
        )


def workdir_of(host: Host, facts: Facts, job: Job) -> str:
    """Return the absolute working folder of the job on a node; a relative one begins at home."""
    given = job.workdir or host.workdir
    return posixpath.join(facts.home, expand(given or f"~/orch/{job.workdir_name}", facts.home))


def expand(path: str, home: str) -> str:
    """Return `path` with a leading ~ as the node's home; a bare command name stays one."""
    if path == "~" or path.startswith("~/"):
        return posixpath.join(home, path[2:])
    if path.startswith("~"):
        raise PlanError(f"{path}: only ~ and ~/ are understood", remedy="write the absolute path")
    return path


def _environment(
    host: Host, facts: Facts, job: Job, share: Share, interface: str | None
) -> dict[str, str]:
    given = {**host.env, **job.environment}
    environment = {"PYTHONUNBUFFERED": "1"}  # or nothing of a rank arrives before it ends
    if share.devices > 1 and "OMP_NUM_THREADS" not in facts.environment:
        environment["OMP_NUM_THREADS"] = "1"  # torchrun's default, for every launcher alike
    environment.update(interface_variables(interface, {**facts.environment, **given}))
    environment.update(given)
    return environment
