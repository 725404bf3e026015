"""A plan as JSON, and back: what a run's record keeps of it. No secret is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.inventory import Host
from orchestrator.plan import Elastic, NodePlan, Plan, Process
from orchestrator.plan.paste import masked
from orchestrator.runs.plain import parse, plain

_NOT_KEPT = {"name", "address", "env"}  # they stand beside it, or may hold secrets


def describe(plan: Plan) -> dict[str, Any]:
    """Return `plan` as JSON, the values of secrets masked."""
    return {
        "launcher": plan.launcher,
        "main_address": plan.main_address,
        "main_port": plan.main_port,
        "subnet": plan.subnet,
        "world_size": plan.world_size,
        "elastic": plain(plan.elastic),
        "nodes": [describe_node(node, plan.secrets) for node in plan.nodes],
    }


def describe_node(node: NodePlan, secrets: frozenset[str]) -> dict[str, Any]:
    """Return one node's share as JSON, the values of secrets masked."""
    return {
        "name": node.name,
        "address": node.host.address,
        "host": node.host.model_dump(mode="json", exclude=_NOT_KEPT),
        "node_rank": node.node_rank,
        "first_rank": node.first_rank,
        "devices": node.devices,
        "interface": node.interface,
        "training_address": node.address,
        "workdir": node.workdir,
        "environment": masked(node.environment, secrets),
        "processes": [
            {**plain(process), "environment": masked(process.environment, secrets)}
            for process in node.processes
        ],
    }


def rebuild(run: str, described: Mapping[str, Any]) -> Plan:
    """Return the plan of `run` that `describe` described, but for its secrets.

    Raises KeyError, TypeError or ValueError when it is not one.
    """
    return Plan(
        run=run,
        launcher=parse(str, described["launcher"]),
        main_address=parse(str, described["main_address"]),
        main_port=parse(int, described["main_port"]),
        subnet=parse(str | None, described["subnet"]),
        world_size=parse(int, described["world_size"]),
        nodes=tuple(rebuild_node(node) for node in described["nodes"]),
        secrets=frozenset(),
        elastic=parse(Elastic | None, described.get("elastic")),
    )


def rebuild_node(node: Mapping[str, Any]) -> NodePlan:
    """Return the share that `describe_node` described. Raises as `rebuild` does."""
    return NodePlan(
        host=Host(name=node["name"], address=node["address"], **node["host"]),
        node_rank=parse(int, node["node_rank"]),
        devices=parse(int, node["devices"]),
        first_rank=parse(int, node["first_rank"]),
        interface=parse(str | None, node["interface"]),
        address=parse(str | None, node["training_address"]),
        workdir=parse(str, node["workdir"]),
        environment=parse(Mapping[str, str], node["environment"]),
        unset=(),
        processes=parse(tuple[Process, ...], node["processes"]),
    )
