"""The use case: describe every node, or report why it cannot be described.

connect -> facts -> GPUs and software; an unreachable node does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator import events
from orchestrator.api.hosts import HostOptions, Note, open_hosts
from orchestrator.errors import NodeError, PlanError, Unreachable, UsageError
from orchestrator.inventory import Host, Inventory
from orchestrator.inventory.ranges import fold
from orchestrator.pipeline.connect import connect_available
from orchestrator.pipeline.phase import Phase
from orchestrator.plan import Facts, Job, Network, choose_network
from orchestrator.plan.devices import devices_of
from orchestrator.plan.launchers import registry
from orchestrator.plan.network import (
    INTERNAL_REMEDY,
    check_distinct,
    interface_of,
    lacks_internal,
)
from orchestrator.preflight.gpus.devices import GPU, Gpus
from orchestrator.preflight.measure import parse
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.software.interpreter import SOFTWARE, Interpreter, Software, Torch
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import group_verdicts

_PROBE_TIMEOUT = 20.0  # seconds; nvidia-smi may have to initialize each GPU's driver
_INSTALL_RSYNC = "install rsync there, or copy the files yourself and use --no-sync"
_INSTALL_TORCH = (
    "set `python:` in the inventory (or --python) to the interpreter that has it (a login by SSH activates "
    "no environment), or install torch for this one"
)


@dataclass(frozen=True)
class NodeReport:
    """A description of one node, or why there is none: either `facts` or `problem` is None.

    `gpus` and `software` are what it has, or why that is unknown. `interface` and `address` are the
    node's own in `subnet`, which all nodes with facts share; all three are None if they share none.
    `faults` are the reasons why a launch would fail there, each with what to do.
    """

    host: Host
    facts: Facts | None
    problem: Unreachable | None
    interface: str | None = None
    address: str | None = None
    subnet: str | None = None
    gpus: Gpus | NoAnswer | None = None
    software: Software | NoAnswer | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def torch(self) -> Torch | None:
        """The version of torch in its interpreter; None if it is missing or unknown."""
        interpreter = self.interpreter
        return None if interpreter is None else interpreter.torch

    @property
    def interpreter(self) -> Interpreter | None:
        """The interpreter of the job; None if it does not start or is unknown."""
        known = self.software if isinstance(self.software, Software) else None
        return None if known is None or isinstance(known.interpreter, str) else known.interpreter


@dataclass(frozen=True)
class Fault:
    """Why a launch would fail on a node, and what to do; `kind` is for programs."""

    message: str
    remedy: str
    kind: Literal["rsync", "python", "torch", "identity", "launcher", "devices", "address"]


async def nodes(
    options: HostOptions, emit: events.Emit, note: Note | None = None
) -> list[NodeReport]:
    """Connect to the nodes that the options select, and describe each; see `survey`.

    Raises UsageError. Spares are included unless `nodes` names the hosts.
    """
    async with open_hosts(options, note=note) as (inventory, transport):
        if options.get("nodes") is not None:
            inventory = inventory.model_copy(update={"spares": ()})
        return await survey(inventory, transport, emit)


async def survey(inventory: Inventory, transport: Transport, emit: events.Emit) -> list[NodeReport]:
    """Connect to every node and return a report for each host, in their order, and the spares last."""
    hosts = inventory.hosts + inventory.spares
    fleet = Fleet(hosts, transport)
    try:
        answers, problems = await connect_available(fleet, emit)
        names = [host.name for host in fleet.hosts]
        with Phase("hardware", names, emit):
            equipment = await asyncio.gather(*map(_equipment, fleet.agents))
    finally:
        await fleet.close()
    network = _network(answers, inventory.main.address, fleet.hosts)
    if network is None and answers:
        emit(
            events.Warned(
                "the nodes share no subnet: a launch takes the address that SSH reaches main by, "
                "unless --main-address gives another"
            )
        )
    by_name = {host.name: host for host in hosts}
    reports_of = {each.node: NodeReport(by_name[each.node], None, each) for each in problems}
    for index, (host, facts) in enumerate(zip(fleet.hosts, answers, strict=True)):
        place: tuple[str | None, str | None, str | None] = (None, None, None)
        if network is not None and network.interfaces[index] is not None:
            place = (network.interfaces[index], network.addresses[index], network.subnet)
        reports_of[host.name] = NodeReport(host, facts, None, *place, *equipment[index])
    reports = [reports_of[host.name] for host in hosts]
    duplicates: tuple[Fault, ...] = ()
    try:
        check_distinct(names, answers)
    except PlanError as error:
        duplicates = (Fault(error.message, error.remedy or "", "identity"),)
    count = Counter(facts.identity for facts in answers)
    return [
        replace(
            report,
            faults=faults_of(report, reports)
            + (duplicates if report.facts and count[report.facts.identity] > 1 else ()),
        )
        for report in reports
    ]


async def _equipment(agent: Agent) -> tuple[Gpus | NoAnswer, Software | NoAnswer]:
    """Return the GPUs of a node, and the software that its interpreter has for a job."""
    job = {"workdir": "/", "environment": dict(agent.node.host.env), "unset": []}
    probes = {GPU.name: {}, SOFTWARE.name: {"names": [], "folder": "/", **job}}
    try:
        raw = await agent.ask(
            "check", timeout=_PROBE_TIMEOUT + 10, limit=_PROBE_TIMEOUT, probes=probes
        )
    except NodeError as error:
        why = NoAnswer(error.text)
        return why, why
    return parse(GPU, raw), parse(SOFTWARE, raw)


def faults_of(report: NodeReport, all_reports: Sequence[NodeReport]) -> tuple[Fault, ...]:
    """Return why a launch on all nodes would fail on this one."""
    if report.facts is None:
        return ()
    faults = []
    if report.facts.rsync is None:
        faults.append(Fault("rsync is not installed", _INSTALL_RSYNC, "rsync"))
    address = report.host.internal_address
    if address is not None and interface_of(report.facts, address) is None:
        text = lacks_internal(report.facts, address)
        faults.append(Fault(text, INTERNAL_REMEDY, "address"))
    try:
        devices_of(report.host, report.facts, Job(""))
    except PlanError as error:
        faults.append(Fault(error.text, error.remedy or "", "devices"))
    software, interpreter = report.software, report.interpreter
    if isinstance(software, NoAnswer):
        text = f"its Python could not be examined: {software.reason}"
        faults.append(Fault(text, "try again", "python"))
    elif isinstance(software, Software) and software.interpreter is None:
        text = f"Python does not start in the job's environment: {software.broken}"
        faults.append(Fault(text, "check PYTHONHOME and PYTHONPATH there", "python"))
    needs_torch = False
    try:
        needs_torch = "torch" in registry.find(report.host.launcher or registry.DEFAULT).needs
    except UsageError as error:
        faults.append(Fault(error.message, error.remedy or "", "launcher"))
    if interpreter is None:
        return tuple(faults)
    if interpreter.torch is None and needs_torch:
        text = f"torch is not installed for {interpreter.executable}"
        faults.append(Fault(text, _INSTALL_TORCH, "torch"))
    others = [each.interpreter for each in all_reports if each.interpreter is not None]
    all_python = [f"Python {each.minor}" for each in others]
    compared: tuple[tuple[Literal["torch", "python"], object, Sequence[object]], ...] = (
        ("torch", interpreter.torch, [each.torch for each in others if each.torch is not None]),
        ("python", f"Python {interpreter.minor}", all_python),
    )
    for kind, mine, all_nodes in compared:
        common = Counter(map(str, all_nodes)).most_common(1)
        if mine is not None and common and str(mine) != common[0][0]:
            text = f"{mine}, but others have {common[0][0]}"
            remedy = "install the same on all nodes: `orch preflight` shows how"
            faults.append(Fault(text, remedy, kind))
    return tuple(faults)


def faults(reports: Sequence[NodeReport]) -> list[str]:
    """Return why a launch would fail and what to do: each fault once, with its nodes."""
    names_of: dict[Fault, list[str]] = {}
    for report in reports:
        for fault in report.faults:
            names_of.setdefault(fault, []).append(report.host.name)
    return [f"{fold(names)}: {f.message}\n  → {f.remedy}" for f, names in names_of.items()]


def problems(reports: Sequence[NodeReport]) -> list[str]:
    """Return why nodes cannot be reached and what to do: each problem once."""
    failures = (report.problem for report in reports if report.problem is not None)
    return [str(each) for each in group_verdicts(failures)]


def _network(facts: list[Facts], main: str | None, hosts: Sequence[Host]) -> Network | None:
    """Return the network that a launch on nodes with these facts would choose."""
    if not facts:
        return None
    own = [host.internal_address for host in hosts]
    return (choose_network(facts, main, own) if main else None) or choose_network(facts, None, own)
