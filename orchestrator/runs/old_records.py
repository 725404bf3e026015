"""Records that orch 0.1.0 wrote, converted to the present format."""

from __future__ import annotations

from typing import Any

from orchestrator.node.reasons import StopReason
from orchestrator.plan.launchers.registry import built_in
from orchestrator.remote.legacy_reasons import (
    detail_of_summary,
    parse_oom_kills,
    parse_stop,
    parse_summary,
)
from orchestrator.runs.codec import encode
from orchestrator.runs.outcome import outcome_of

_REASONS = {reason.value for reason in StopReason}


def renewed(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of an event of this kind in its present form. Raises KeyError or TypeError."""
    if kind == "Stopping" and "reason" in said:
        return {"stop": encode(parse_stop(said["reason"])), "grace": said["grace"]}
    if kind == "Explained" and "oom_kills" not in said:
        return {**said, "oom_kills": parse_oom_kills(said["evidence"])}
    if kind == "Ended" and "stop" not in said:
        return {**said, **_renewed_summary(said)}
    if kind == "NodeLost":
        return {**said, "cause": said["cause"].removeprefix(f"{said['node']}: ")}
    return said


def renewed_record(said: dict[str, Any]) -> dict[str, Any]:
    """Return the current form of `run.json`. Raises KeyError, TypeError or AttributeError."""
    new = dict(said)
    if new.get("verdict") is not None:
        new["verdict"] = renewed("Explained", new["verdict"])
    if "settings" in said:
        new["settings"] = _renewed_settings(said["settings"])
    if "recipe" in new:
        new["spec"] = new.pop("recipe")
    if "stop" not in new:
        new |= _renewed_summary(said)
    if (
        new.get("outcome") is None
    ):  # a controller that found the end in the event log does not write it either
        new["outcome"] = outcome_of(said["state"], said["exit_code"])
    if "run" in new:
        run, plan = new.pop("run"), said["plan"]
        nodes = [_renewed_node(node) for node in plan["nodes"]]
        new["plan"] = {**renewed_plan(plan), "run": run, "nodes": nodes, "secrets": []}
        new["former"] = [_renewed_node(node) for node in said.get("former", [])]
    return new


def _renewed_summary(said: dict[str, Any]) -> dict[str, Any]:
    """Return the other fields of an end than its summary: why the run was stopped, and the details."""
    summary, exit_code = said["summary"], said["exit_code"]
    return {
        "stop": encode(parse_summary(summary, exit_code)),
        "detail": detail_of_summary(summary),
    }


def _renewed_settings(said: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with a transport; old ones had only SSH options."""
    if "transport" in said:
        return said
    new = dict(said)
    options = {"timeout": new.pop("connect_timeout", 10.0)}
    accept_new, embedded = new.pop("accept_new", False), new.pop("embedded", None)
    if embedded is not None:
        return {**new, "transport": {"name": "local", "options": {**embedded, **options}}}
    return {**new, "transport": {"name": "ssh", "options": {**options, "accept_new": accept_new}}}


def renewed_plan(said: dict[str, Any]) -> dict[str, Any]:
    """Return a plan with the properties of its launcher; 0.1.0 only had orch's own launchers."""
    if "once_per_node" in said:
        return said
    launcher = built_in(said["launcher"])
    restarts_ranks = any(
        launcher.restarts_ranks(process["argv"], node["environment"])
        for node in said["nodes"]
        for process in node["processes"]
    )
    return {**said, "once_per_node": launcher.once_per_node, "restarts_ranks": restarts_ranks}


def _renewed_node(said: dict[str, Any]) -> dict[str, Any]:
    """Return a node's share of a plan; old ones had name and address next to the host."""
    new = {name: said[name] for name in said if name not in ("name", "training_address")}
    host = {**said["host"], "name": said["name"], "address": said["address"]}
    return {**new, "host": host, "address": said["training_address"], "unset": []}


def renewed_request(said: Any) -> Any:
    """Return the content of `stop.json` in its current form; the reason used to be free text.

    Raises KeyError or TypeError.
    """
    if said is None or said["reason"] in _REASONS:
        return said
    return {**said, "reason": parse_stop(said["reason"]).reason.value}
