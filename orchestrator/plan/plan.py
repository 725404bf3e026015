"""Make the plan of a run: exactly what runs on each node, before anything is done."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import PlanError, UsageError
from orchestrator.inventory import Host
from orchestrator.node import function_call
from orchestrator.plan.devices import assign_devices
from orchestrator.plan.facts import Facts
from orchestrator.plan.job import Elastic, Job
from orchestrator.plan.launchers import registry
from orchestrator.plan.launchers.base import Launcher, Process, Share
from orchestrator.plan.network import Network, interface_variables
from orchestrator.util.text import escaped

# A job must not inherit these from an outer job or a login shell.
_UNSET = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE",
    "NODE_RANK", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_ERROR_FILE", "PYTHON_EXEC", "ORCH_PYTHON",
)  # fmt: skip

# Seconds. torchrun's agents send a heartbeat every 5 s. An agent counts as dead once its last one is 15 s
# old by the clock of another (torch 2.13: `_BackendRendezvousStateHolder._sanitize`).
_MAX_SKEW = 8.0


@dataclass(frozen=True)
class NodePlan:
    """What runs on one node.

    `environment` is added to the node's own, from which the variables in `unset` are removed; each process
    adds its own. The ranks are numbered from `first_rank`, one for each device, or
    `rank_count`. `interface` and `address` are
    the node's own on the network of the ranks, None if unknown.
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
    rank_count: int | None = None
    """How many ranks it has, if its launcher only serves them (`Launcher.runs_once`)."""

    @property
    def cwd(self) -> str:
        """The folder in which the processes start: `folder` of the working folder."""
        return posixpath.join(self.workdir, self.folder) if self.folder else self.workdir

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def ranks(self) -> range:
        count = self.devices if self.rank_count is None else self.rank_count
        return range(self.first_rank, self.first_rank + count)

    def spec(self, run: str, attempt: int) -> dict[str, Any]:
        """Return the request that starts this on the node, for `node/supervise.py`."""
        return {
            "run": run,
            "node": self.name,
            "attempt": attempt,
            "cwd": self.cwd,
            "env": dict(self.environment),
            "unset": list(self.unset),
            "serves": self.rank_count is not None,
            "processes": [
                {
                    "name": process.name,
                    "argv": list(process.argv),
                    "env": dict(process.environment),
                    "rank": process.rank,
                    "local_rank": process.local_rank,
                    "program_at": process.program_at,
                    "numa_binding": process.numa_binding,
                }
                for process in self.processes
            ],
        }


@dataclass(frozen=True)
class Plan:
    """What runs on every node, in node order; the first is the main node.

    If it is `elastic`, the launchers continue without lost nodes, and place the ranks themselves.
    `launcher` is a name; `once_per_node`, `runs_once` and `restarts_ranks` are copied from the launcher, so
    that a run can be read without the package of its launcher.
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
    runs_once: bool = False

    @property
    def restarts_itself(self) -> bool:
        """Whether the launcher restarts failed ranks, so that only its own end ends the run."""
        return self.elastic is not None or self.restarts_ranks

    @property
    def expected_ranks(self) -> frozenset[int]:
        """The ranks that orch sees: if the script starts them, only the first of each node."""
        if self.once_per_node:
            return frozenset(node.first_rank for node in self.nodes)
        return frozenset(range(self.world_size))


def choose_launcher(hosts: Sequence[Host], job: Job) -> Launcher:
    """Return the launcher of all nodes. Raises UsageError if they disagree, or it does not exist."""
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
    """Return what runs where. The node rank is the position in `hosts`; ranks are numbered in node order.

    Raises UsageError or PlanError if the job cannot run on these nodes.
    """
    launcher = choose_launcher(hosts, job)
    launcher.check_job(job)
    for host in hosts:
        launcher.check_variables({**host.env, **job.environment})
    if job.elastic is not None:
        _check_elastic(launcher, job.elastic, len(hosts))
        _check_clocks(hosts, facts)
    if job.function is not None:
        _check_python(hosts, facts, job)
    devices = assign_devices(hosts, facts, job)
    counts = [each.ranks for each in devices]
    ranks = [int(i == 0) for i in range(len(hosts))] if launcher.runs_once else counts
    world_size = sum(ranks)
    nodes = []
    for node_rank, (host, fact) in enumerate(zip(hosts, facts, strict=True)):
        share = Share(
            run=run,
            python=expand(host.python, fact.home),
            node_rank=node_rank,
            nodes=len(hosts),
            devices=counts[node_rank],
            gpus=devices[node_rank].gpus,
            first_rank=sum(ranks[:node_rank]),
            world_size=world_size,
            main_address=network.address,
            main_port=main_port,
            address=network.addresses[node_rank],
            is_uniform=len(set(counts)) == 1,
            environment={**host.env, **job.environment},
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
                environment={
                    **_environment(host, fact, job, ranks[node_rank], interface),
                    **devices[node_rank].environment,
                },
                unset=_UNSET,
                processes=_processes(launcher, share, _with_program(job, run, host, fact)),
                folder=job.folder,
                rank_count=ranks[node_rank] if launcher.runs_once else None,
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
        runs_once=launcher.runs_once,
        restarts_ranks=any(
            launcher.restarts_ranks(process.argv, node.environment)
            for node in nodes
            for process in node.processes
        ),
    )


def _processes(launcher: Launcher, share: Share, job: Job) -> tuple[Process, ...]:
    """Return what runs on one node. Raises PlanError if orch could not supervise it."""
    processes = launcher.processes(share, job)
    count = 1 if launcher.once_per_node else share.devices
    possible = [["launcher"], [f"rank-{share.first_rank + index}" for index in range(count)]]
    if launcher.runs_once:
        possible = [["launcher", "rank-0"] if share.node_rank == 0 else ["launcher"]]
    names = [process.name for process in processes]
    by_rank = ["launcher" if p.rank is None else f"rank-{p.rank}" for p in processes]
    if names != by_rank or names not in possible:
        raise PlanError(
            f"launcher {launcher.name} would start {', '.join(names) or 'nothing'}; orch expects (the "
            f"launcher with rank None): {' or '.join(', '.join(each) for each in possible)}",
            remedy="report this to the author of that launcher",
        )
    return processes


def _check_elastic(launcher: Launcher, elastic: Elastic, nodes: int) -> None:
    """Raise UsageError if the launcher cannot be elastic, or not with this number of nodes."""
    if not launcher.can_be_elastic:
        raise UsageError(
            f"{elastic}: --launcher {launcher.name} does not restart ranks",
            remedy="use --launcher torchrun; or only --restarts, with which orch restarts the whole job",
        )
    if not elastic.fewest <= nodes <= elastic.most:
        remedy = "choose fewer with --nodes" if nodes > elastic.most else "lower MIN, or add hosts"
        raise UsageError(f"{elastic}: there are {nodes} nodes", remedy=remedy)


def _check_clocks(hosts: Sequence[Host], facts: Sequence[Facts]) -> None:
    """Raise PlanError if clocks differ so much that torchrun would count a node as dead."""
    by_skew = sorted(zip(facts, hosts, strict=True), key=lambda each: each[0].clock_skew)
    (first, slow), (last, fast) = by_skew[0], by_skew[-1]
    apart = last.clock_skew - first.clock_skew
    if apart - first.clock_error - last.clock_error > _MAX_SKEW:
        raise PlanError(
            f"--elastic: the clock of {fast.name} is {apart:.0f} s ahead of that of {slow.name}: "
            "torchrun would count one of them as dead",
            remedy="synchronise the clocks: `orch preflight --only clock` prints how",
        )


def _check_python(hosts: Sequence[Host], facts: Sequence[Facts], job: Job) -> None:
    """Raise PlanError if a node cannot load the function's code, which fits one version of Python only."""
    if job.function is None or job.function.python is None:
        return
    wrong = {
        host: fact.python_version
        for host, fact in zip(hosts, facts, strict=True)
        if fact.python_version.split(".")[:2] != job.function.python.split(".")
    }
    if wrong:
        there = ", ".join(
            f"{host.name} has {escaped(text)} ({host.python})" for host, text in wrong.items()
        )
        raise PlanError(
            f"the code of {job.script}() is that of Python {job.function.python}, and no other version "
            f"loads it: {there}",
            remedy=f"name one with --python /path/to/python{job.function.python} (python= in Python), or "
            "put the function in a module of the project and import it: then its source is sent",
        )


def _with_program(job: Job, run: str, host: Host, facts: Facts) -> Job:
    """Return the job with the script that calls its function on this node, if it has one."""
    if job.function is None:
        return job
    state = expand(host.state_folder, facts.home)
    return replace(
        job,
        script=posixpath.join(
            state, "runs", run, host.name, function_call.FOLDER, function_call.PROGRAM
        ),
    )


def workdir_of(host: Host, facts: Facts, job: Job) -> str:
    """Return the absolute working folder of the job on a node; a relative one starts at home."""
    given = job.workdir or host.workdir
    return posixpath.join(facts.home, expand(given or f"~/orch/{job.workdir_name}", facts.home))


def expand(path: str, home: str) -> str:
    """Return `path` with a leading ~ replaced by the node's home. Raises PlanError for `~user`."""
    if path == "~" or path.startswith("~/"):
        return posixpath.join(home, path[2:])
    if path.startswith("~"):
        raise PlanError(f"{path}: only ~ and ~/ are understood", remedy="write the absolute path")
    return path


def _environment(
    host: Host, facts: Facts, job: Job, ranks: int, interface: str | None
) -> dict[str, str]:
    given = {**host.env, **job.environment}
    environment = {"PYTHONUNBUFFERED": "1"}  # otherwise output arrives only when a rank ends
    if ranks > 1 and "OMP_NUM_THREADS" not in facts.environment:
        environment["OMP_NUM_THREADS"] = "1"  # torchrun's default, for every launcher
    environment.update(interface_variables(interface, {**facts.environment, **given}))
    environment.update(given)
    if job.function is not None:
        environment[function_call.MARK] = job.script
    return environment
