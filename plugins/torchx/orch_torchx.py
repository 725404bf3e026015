"""The scheduler `orch` of torchx: an app becomes a run of orch's in the background, its replicas nodes.

Written for torchx 0.7, by its `Scheduler` base class. An app has one role. A role that starts torchrun, as
that of `dist.ddp`, is started by a launcher of orch's; any other program runs once on each node.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from torchx.schedulers.api import DescribeAppResponse, ListAppResponse, Scheduler, Stream
from torchx.schedulers.ids import make_unique
from torchx.specs import (
    NONE,
    AppDef,
    AppDryRunInfo,
    AppState,
    ReplicaStatus,
    Role,
    RoleStatus,
    macros,
    runopts,
)

from orchestrator import (
    NodeStatus,
    OrchError,
    Run,
    RunStatus,
    UsageError,
    events,
    get_run,
    launch,
    runs,
)
from orchestrator.api.hosts import read_hosts
from orchestrator.api.status import known_status
from orchestrator.runs.saved_run import load_run

log = logging.getLogger("orch.torchx")

ROLE = "ORCH_TORCHX_ROLE"
"""The variable of the job that keeps the name of its role, so that other processes find it again."""

_STATES = {
    "starting": AppState.PENDING,
    "running": AppState.RUNNING,
    "stalled": AppState.RUNNING,
    "stopping": AppState.RUNNING,
    "succeeded": AppState.SUCCEEDED,
    "stopped": AppState.CANCELLED,
    "failed": AppState.FAILED,
    "lost": AppState.FAILED,
}
_SHELLS = ("bash", "sh", "/bin/bash", "/bin/sh")
_REPLICA = '"$GROUP_RANK"'  # which every launcher of orch's sets
_MASTER = "MASTER_ADDR"
_MAX_NAME = 40  # characters of an app's name in that of its run
_TEXT_OPTIONS = {
    "nodes": "the hosts to use, such as node[0-3] (default: the first of the inventory)",
    "exclude": "hosts not to use",
    "launcher": "the launcher for components that start torchrun (default: torchrun)",
    "preflight": "checks before the start: quick, full or off",
    "sync": "the folder to copy to the nodes (default: that of the script)",
    "workdir": "the folder on the nodes",
    "main_address": "the address for the rendezvous",
    "main_port": "its port, or auto",
    "timeout": "stop the run after this time, such as 12h",
}
_FLAGS = {
    "no_sync": "copy nothing to the nodes",
    "wait": "wait until no other run uses the nodes",
    "accept_new": "accept and record unknown host keys",
}


@dataclass(frozen=True)
class Request:
    """What `launch` is called with."""

    script: str
    arguments: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.options.items() if name != "env"]
        return "\n".join([shlex.join([self.script, *self.arguments]), *lines])


class OrchScheduler(Scheduler[Mapping[str, Any]]):
    """Runs apps on the hosts of an inventory."""

    def __init__(self, session_name: str) -> None:
        super().__init__("orch", session_name)

    def _run_opts(self) -> runopts:
        options = runopts()
        options.add(
            "hosts", type_=str, help="an inventory file, or any other list of hosts that orch reads"
        )
        options.add(
            "local", type_=bool, help="nodes on this machine in place of hosts", default=False
        )
        for name, text in _TEXT_OPTIONS.items():
            options.add(name, type_=str, help=text)
        for name, text in _FLAGS.items():
            options.add(name, type_=bool, help=text, default=False)
        return options

    def _submit_dryrun(self, app: AppDef, cfg: Mapping[str, Any]) -> AppDryRunInfo[Request]:
        if len(app.roles) != 1:
            raise ValueError(f"orch runs apps of one role, and {app.name} has {len(app.roles)}")
        request = request_for(app.roles[0], app.name, cfg)
        return AppDryRunInfo(request, str)

    def schedule(self, dryrun_info: AppDryRunInfo[Request]) -> str:
        request = dryrun_info.request

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Warned):
                log.warning(event.message)

        launch(
            request.script, *request.arguments, detach=True, display=False, on_event=hear,
            **request.options,
        )  # fmt: skip
        return str(request.options["name"])

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        run = find(app_id)
        if run is None:
            return None
        status, role = run.status(), role_of(run)
        replicas = [replica(status, node, number, role) for number, node in enumerate(status.nodes)]
        return DescribeAppResponse(
            app_id=app_id,
            state=_STATES.get(status.state, AppState.UNKNOWN),
            num_restarts=len(status.failed),
            msg=status.summary or NONE,
            structured_error_msg=error_of(status),
            roles_statuses=[RoleStatus(role, replicas)],
            roles=[Role(name=role, image="", num_replicas=len(replicas))],
        )

    def list(self) -> list[ListAppResponse]:
        found = []
        for run in runs():
            status = known_status(run.folder)
            if status is not None and role_of(run, default="") != "":
                state = _STATES.get(status.state, AppState.UNKNOWN)
                found.append(ListAppResponse(app_id=app_of(run), state=state))
        return found

    def _cancel_existing(self, app_id: str) -> None:
        run = find(app_id)
        if run is not None and run.result is None:
            run.stop()

    def log_iter(
        self,
        app_id: str,
        role_name: str,
        k: int = 0,
        regex: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        should_tail: bool = False,
        streams: Stream | None = None,
    ) -> Iterable[str]:
        run = find(app_id)
        if run is None:
            raise ValueError(f"no run is named {app_id}")
        status, role = known_status(run.folder), role_of(run)
        nodes = status.nodes if status is not None else ()
        if role_name != role or not 0 <= k < len(nodes):
            raise ValueError(f"{app_id} has the replicas {role}/0 to {role}/{len(nodes) - 1}")
        channel: Any = None if streams in (None, Stream.COMBINED) else str(streams.value)
        lines = run.logs(nodes=nodes[k].name, stream=channel, follow=should_tail, since=since)
        return _matching(lines, None if regex is None else re.compile(regex), until)


def create_scheduler(session_name: str, **_: object) -> OrchScheduler:
    """Return the scheduler; torchx calls this."""
    for name in ("asyncssh", "orch"):  # torchx shows what they log about each connection
        logging.getLogger(name).setLevel(logging.WARNING)
    return OrchScheduler(session_name)


def _matching(
    lines: Iterable[Any], pattern: re.Pattern[str] | None, until: datetime | None
) -> Iterator[str]:
    """Yield lines as torchrun's --tee prints them, `[3]:text`, those of its own without a rank."""
    end = float("inf") if until is None else until.timestamp()
    for line in lines:
        if line.time <= end and (pattern is None or pattern.search(line.text)):
            yield f"{line.text}\n" if line.rank is None else f"[{line.rank}]:{line.text}\n"


# -- from an app to a launch -------------------------------------------------------------------


def request_for(role: Role, app: str, cfg: Mapping[str, Any]) -> Request:
    """Return the launch of a role. Raises ValueError for what orch cannot do."""
    options = {name: cfg[name] for name in (*_TEXT_OPTIONS, *_FLAGS) if cfg.get(name)}
    options |= _hosts(role, cfg)
    options |= {"name": _app_id(app, role), "restarts": role.max_retries or None}
    command = _torchrun_words(role)
    if command is not None:
        script, arguments, own = _from_torchrun(command, role)
        options = {"launcher": "torchrun", **options, **own}
        if options["launcher"] != "torchrun":
            options.pop("launcher_arg", None)
    else:
        script, arguments = _program(role)
        options |= {"launcher": "direct", "nproc": 1, "no_python": True}
    values = macros.Values(
        img_root=".", app_id=str(options["name"]), replica_id="", rank0_env=_MASTER
    )
    for name, value in role.env.items():
        if macros.replica_id in value:
            raise ValueError(f"{name}: orch gives all nodes the same variables; use $GROUP_RANK")
    options["env"] = {**{k: values.substitute(v) for k, v in role.env.items()}, ROLE: role.name}
    return Request(values.substitute(script), tuple(map(values.substitute, arguments)), options)


def _hosts(role: Role, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that select as many hosts as the role has replicas."""
    if cfg.get("local"):
        return {"local": role.num_replicas}
    hosts = cfg.get("hosts")
    if cfg.get("nodes"):
        return {"hosts": hosts}
    inventory = read_hosts(hosts)
    names = [host.name for host in inventory.hosts if not host.spare]
    if len(names) < role.num_replicas:
        raise ValueError(
            f"{inventory.source}: {len(names)} hosts, and {role.name} has {role.num_replicas} replicas"
        )
    return {"hosts": inventory, "nodes": ",".join(names[: role.num_replicas])}


def _app_id(app: str, role: Role) -> str:
    """Return a unique name of a run; orch appends five letters to it."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", app or role.name).strip("-._")
    return str(make_unique(name[:_MAX_NAME] or "app"))


def _torchrun_words(role: Role) -> Sequence[str] | None:
    """Return the words after `torchrun` if that is what the role starts, else None."""
    words = [role.entrypoint, *role.args]
    if role.entrypoint in _SHELLS and len(role.args) == 2 and role.args[0] == "-c":
        # A component escapes the dollar of shell variables, as `$${rank0_env}`, for the macros.
        try:
            words = shlex.split(role.args[1])
        except ValueError:
            return None
    if words[:1] == ["torchrun"]:
        return words[1:]
    if words[1:3] == ["-m", "torch.distributed.run"]:
        return words[3:]
    return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"torchrun {message}")


def _from_torchrun(words: Sequence[str], role: Role) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Return script, arguments and options of a torchrun command; orch sets the rendezvous itself."""
    parser = _Parser(prog="torchrun", add_help=False, allow_abbrev=False)
    kept = ("monitor", "start-method", "local-ranks-filter", "log-dir", "redirects", "numa-binding")
    for option in ("nnodes", "nproc-per-node", "max-restarts", *kept):
        parser.add_argument(f"--{option}", f"--{option.replace('-', '_')}")
    for option in ("rdzv-backend", "rdzv-endpoint", "rdzv-id", "rdzv-conf", "node-rank"):
        parser.add_argument(f"--{option}", f"--{option.replace('-', '_')}")
    parser.add_argument("--tee", "-t")
    parser.add_argument("--role")
    parser.add_argument("-m", "--module", action="store_true")
    parser.add_argument("--no-python", "--no_python", action="store_true")
    parser.add_argument("--standalone", action="store_true")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(list(words))
    options: dict[str, Any] = {"nproc": given.nproc_per_node or 1}
    if given.module:
        options["module"] = True
    if given.no_python:
        options["no_python"] = True
    if ":" in (given.nnodes or "") and len(set(given.nnodes.split(":"))) > 1:
        options["elastic"] = given.nnodes
    launcher = {name: getattr(given, name.replace("-", "_")) for name in ("max-restarts", *kept)}
    if words_for_torchrun := [f"--{k}={v}" for k, v in launcher.items() if v is not None]:
        options["launcher_arg"] = words_for_torchrun
    return given.script, tuple(given.arguments), options


def _program(role: Role) -> tuple[str, tuple[str, ...]]:
    """Return what runs once on each node; one that names its replica runs through a shell."""
    words = [role.entrypoint, *role.args]
    if not any(macros.replica_id in word for word in words):
        return role.entrypoint, tuple(role.args)
    line = " ".join(_REPLICA.join(map(_quoted, word.split(macros.replica_id))) for word in words)
    return "sh", ("-c", f"exec {line}")


def _quoted(part: str) -> str:
    return shlex.quote(part) if part else ""


# -- from a run to an app ----------------------------------------------------------------------


def find(app_id: str) -> Run | None:
    """Return the run of this app, None if there is none."""
    try:
        run = get_run(f"{app_id}-")
    except UsageError:
        return None
    return run if app_of(run) == app_id else None


def app_of(run: Run) -> str:
    """Return the id of the run's app: its name without orch's part."""
    return run.name.rpartition("-")[0]


def role_of(run: Run, default: str = "app") -> str:
    """Return the name of the run's role, the default for a run that torchx did not start."""
    try:
        saved = load_run(run.folder)
    except OrchError:
        return default
    if saved is None or not saved.plan.nodes:
        return default
    return saved.plan.nodes[0].environment.get(ROLE, default)


def replica(status: RunStatus, node: NodeStatus, number: int, role: str) -> ReplicaStatus:
    """Return the state of a node: a failed rank makes it fail."""
    state = _STATES.get(status.state, AppState.UNKNOWN)
    failed = node.state in ("lost", "absent") or any(
        rank.state in ("failed", "killed") for rank in node.ranks
    )
    if status.ended is not None and state == AppState.FAILED and not failed:
        state = AppState.CANCELLED  # by the failure of another one
    elif failed and state != AppState.CANCELLED:
        state = AppState.FAILED
    is_root = status.verdict is not None and status.verdict.node == node.name
    return ReplicaStatus(
        id=number,
        state=state,
        role=role,
        hostname=node.name,
        structured_error_msg=error_of(status) if is_root else NONE,
    )


def error_of(status: RunStatus) -> str:
    """Return why a run failed in the form of torchelastic's error files."""
    why = status.verdict
    if why is None:
        return str(NONE)
    text = "; ".join(filter(None, (why.error or why.how, why.place, why.meaning, why.fix)))
    message = {
        "message": text,
        "errorCode": status.exit_code,
        "extraInfo": {"timestamp": str(int(status.ended or status.began))},
    }
    return json.dumps({"message": message})
