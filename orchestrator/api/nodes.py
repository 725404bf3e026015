"""The use case: what every node is, and why a node cannot tell.

connect -> facts -> GPUs and software; one node that is dead hides no other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator import events
from orchestrator.errors import NodeError, PlanError, Unreachable, UsageError
from orchestrator.inventory import Host, Inventory
from orchestrator.inventory.ranges import fold
from orchestrator.pipeline.connect import connect_available
from orchestrator.pipeline.phase import Phase
from orchestrator.plan import Facts, Network, choose_network
from orchestrator.plan.launchers import registry
from orchestrator.plan.network import check_distinct
from orchestrator.preflight.gpus.devices import GPU, Gpus
from orchestrator.preflight.measure import parse
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.software.interpreter import SOFTWARE, Interpreter, Software, Torch
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import group_verdicts

_PROBE_TIME = 20.0  # seconds; nvidia-smi first wakes up each GPU where its driver sleeps
_INSTALL_RSYNC = "install rsync there, or bring the files yourself and use --no-sync"
_HAVE_TORCH = (
    "set `python:` in the inventory to the interpreter that has it (a login by SSH activates no "
    "environment), or install torch for this one"
)


@dataclass(frozen=True)
class NodeReport:
    """What one node is, or why that is not known: one of `facts` and `problem` is None.

    `gpus` and `software` are what it has, or why it could not tell. `interface` and `address` are the
    node's own in `subnet`, which all nodes with facts share; all three are None where they share none.
    `faults` are reasons for which a launch could not work there, each with what to do.
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
        """The torch of its interpreter, None where there is none, or that is not known."""
        interpreter = self.interpreter
        return None if interpreter is None else interpreter.torch

    @property
    def interpreter(self) -> Interpreter | None:
        """The interpreter of the job, None where it does not start, or that is not known."""
        known = self.software if isinstance(self.software, Software) else None
        return None if known is None or isinstance(known.interpreter, str) else known.interpreter


@dataclass(frozen=True)
class Fault:
    """Why a launch could not work on a node, and what to do about it; `kind` for a program."""

    message: str
    remedy: str
    kind: Literal["rsync", "python", "torch", "identity", "launcher"]


async def survey(inventory: Inventory, transport: Transport, emit: events.Emit) -> list[NodeReport]:
    """Connect to every node and ask it what it is; return one report a host, in their order, and the
    spares last.
    """
    hosts = inventory.hosts + inventory.spares
    fleet = Fleet(hosts, transport)
    try:
        answers, problems = await connect_available(fleet, emit)
        with Phase("hardware", (host.name for host in fleet.hosts), emit):
            have = await asyncio.gather(*map(_equipment, fleet.agents))
    finally:
        await fleet.close()
    equipment = {host.name: each for host, each in zip(fleet.hosts, have, strict=True)}
    known = {host.name: facts for host, facts in zip(fleet.hosts, answers, strict=True)}
    twins: PlanError | None = None
    try:
        check_distinct(list(known), answers)
    except PlanError as error:
        twins = error
    network = _network(answers, inventory.main.address)
    if network is None and known:
        emit(
            events.Warned(
                "the nodes share no subnet: a launch takes the address that SSH reaches main by, "
                "unless --main-address gives another"
            )
        )
    places = zip(network.interfaces, network.addresses, strict=True) if network else ()
    ways = dict(zip(known, places, strict=False))
    found: dict[str, Facts | Unreachable] = {**known, **{each.node: each for each in problems}}
    reports = [
        _report(host, found[host.name], network, *ways.get(host.name, (None, None)))
        for host in hosts
    ]
    reports = [
        replace(report, gpus=gpus, software=software)
        for report in reports
        for gpus, software in [equipment.get(report.host.name, (None, None))]
    ]
    shared = Counter(facts.identity for facts in answers)
    told = [replace(report, faults=faults_of(report, reports)) for report in reports]
    if twins is None:
        return told
    fault = Fault(twins.message, twins.remedy or "", "identity")
    return [
        replace(report, faults=(*report.faults, fault))
        if report.facts is not None and shared[report.facts.identity] > 1
        else report
        for report in told
    ]


async def _equipment(agent: Agent) -> tuple[Gpus | NoAnswer, Software | NoAnswer]:
    """Return which GPUs a node has, and what its interpreter has for a job."""
    job = {"workdir": "/", "environment": dict(agent.node.host.env), "unset": []}
    probes = {GPU.name: {}, SOFTWARE.name: {"names": [], "folder": "/", **job}}
    try:
        raw = await agent.ask("check", timeout=_PROBE_TIME + 10, limit=_PROBE_TIME, probes=probes)
    except NodeError as error:
        why = NoAnswer(error.text)
        return why, why
    return parse(GPU, raw), parse(SOFTWARE, raw)


def faults_of(report: NodeReport, all_reports: Sequence[NodeReport]) -> tuple[Fault, ...]:
    """Return why a launch could not work on this node, among all."""
    if report.facts is None:
        return ()
    faults = []
    if report.facts.rsync is None:
        faults.append(Fault("rsync is not installed", _INSTALL_RSYNC, "rsync"))
    software, interpreter = report.software, report.interpreter
    if isinstance(software, NoAnswer):
        text = f"its Python could not be looked at: {software.reason}"
        faults.append(Fault(text, "try again", "python"))
    elif isinstance(software, Software) and isinstance(software.interpreter, str):
        text = f"Python does not start in the job's environment: {software.interpreter}"
        faults.append(Fault(text, "look at PYTHONHOME and PYTHONPATH there", "python"))
    needs_torch = False
    try:
        needs_torch = "torch" in registry.find(report.host.launcher or registry.DEFAULT).needs
    except UsageError as error:
        faults.append(Fault(error.message, error.remedy or "", "launcher"))
    if interpreter is None:
        return tuple(faults)
    if interpreter.torch is None and needs_torch:
        text = f"torch is not installed for {interpreter.executable}"
        faults.append(Fault(text, _HAVE_TORCH, "torch"))
    others = [each.interpreter for each in all_reports if each.interpreter is not None]
    theirs = [each.torch for each in others if each.torch is not None]
    compared: tuple[tuple[Literal["torch", "python"], object, Sequence[object]], ...] = (
        ("torch", interpreter.torch, theirs),
        ("python", f"Python {interpreter.minor}", [f"Python {each.minor}" for each in others]),
    )
    for kind, mine, all_of_them in compared:
        common = Counter(map(str, all_of_them)).most_common(1)
        if mine is not None and common and str(mine) != common[0][0]:
            text = f"{mine}, where others have {common[0][0]}"
            remedy = "have all nodes run the same: `orch preflight` says how"
            faults.append(Fault(text, remedy, kind))
    return tuple(faults)


def faults(reports: Sequence[NodeReport]) -> list[str]:
    """Return why a launch could not work, and what to do, each thing once, with its nodes."""
    nodes: dict[Fault, list[str]] = {}
    for report in reports:
        for fault in report.faults:
            nodes.setdefault(fault, []).append(report.host.name)
    return [f"{fold(names)}: {f.message}\n  → {f.remedy}" for f, names in nodes.items()]


def problems(reports: Sequence[NodeReport]) -> list[str]:
    """Return why nodes cannot be reached, and what to do, each thing once."""
    failures = (report.problem for report in reports if report.problem is not None)
    return [str(each) for each in group_verdicts(failures)]


def _network(facts: list[Facts], main: str | None) -> Network | None:
    """Return the network that a launch would choose, had it only the nodes with these facts."""
    if not facts:
        return None
    return (choose_network(facts, main) if main else None) or choose_network(facts)


def _report(
    host: Host,
    found: Facts | Unreachable,
    network: Network | None,
    interface: str | None,
    address: str | None,
) -> NodeReport:
    if isinstance(found, Unreachable):
        return NodeReport(host, None, found)
    if network is None or interface is None:
        return NodeReport(host, found, None)
    return NodeReport(host, found, None, interface, address, network.subnet)
