"""The variables that steer communication: alike on every node, and read by somebody."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.inventory.ranges import fold as fold_names
from orchestrator.plan.masking import is_secret, masked_value
from orchestrator.plan.network import interface_of
from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.judge import most_common, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.software.known_variables import KNOWN, UNREAD
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, warn

# These name things of one node, so they may differ.
_OF_ONE_NODE = {
    "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_TOPO_FILE",
    "NCCL_HOSTID", "NCCL_DEBUG_FILE", "UCX_NET_DEVICES",
}  # fmt: skip
# Ranks that have these differently cannot speak with each other.
_OF_ALL_RANKS = {"NCCL_IB_DISABLE", "NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_ALGO", "NCCL_PROTO"}
_STEERING = (
    "NCCL_", "GLOO_", "TORCH_", "TORCHELASTIC_", "FI_", "UCX_", "OMP_", "KMP_",
    "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_WHERE = (
    "see the login's environment there (~/.bashrc, ~/.ssh/environment, /etc/environment) and `env:`"
)


def _parse(raw: Any) -> dict[str, str]:
    return {str(name)[:200]: str(value) for name, value in raw.items()}


VARIABLES = Probe("login.variables", _parse)


@check("sw.env", Group.SOFTWARE, probes=(VARIABLES,))
def check_environment(context: Context) -> list[Finding]:
    """Variables of NCCL, gloo and torch are alike on every node, and read by somebody.

    What the login and the inventory set of NCCL_*, GLOO_*, TORCH*_*, FI_*, UCX_*, OMP_* and
    CUDA_VISIBLE_DEVICES. A variable that differs between nodes warns, and fails where ranks with different
    values cannot speak with each other (NCCL_IB_DISABLE, NCCL_NET, NCCL_ALGO, NCCL_PROTO); names of
    interfaces may differ. Values of secrets are never shown.

    Fails for an address in place of an interface's name, and for a GLOO_SOCKET_IFNAME that is no whole
    name (gloo knows no `^`, `=` or prefix). Warns for a name that nobody reads, such as NCCL_TIMEOUT or
    NCCL_SOCKET_PORT_RANGE, or a misspelt one, and for PET_* that torchrun takes as options.
    """
    return to_findings(_judge(context))


def _judge(context: Context) -> Iterator[tuple[str, Verdict]]:
    logins = context.of(VARIABLES)
    set_there: dict[str, dict[str, str]] = {}
    for node in context.nodes:
        login = logins[node.name]
        if isinstance(login, NoAnswer):
            yield node.name, incomplete(login.reason)
        else:
            set_there[node.name] = _steering(node, login)
    fine = dict.fromkeys(set_there)
    found = [*_differing(context, set_there)]
    for node in context.nodes:
        if node.name in set_there:
            found += [(node.name, verdict) for verdict in _own(node, set_there[node.name])]
    yield from found
    for name, _ in found:
        fine.pop(name, None)
    for name in fine:
        yield name, passed("nothing is set that differs, or that nobody reads")


def _steering(node: NodeContext, login: Mapping[str, str]) -> dict[str, str]:
    """Return what a person has set of these variables, at the login or for the job."""
    given = {**node.host.env, **node.context.job.environment}
    kept = {
        name: value
        for name, value in login.items()
        if name not in node.plan.unset and not name.startswith("PET_")  # orch drops those
    }
    named = {name: value for name, value in given.items() if name.startswith((*_STEERING, "PET_"))}
    return {**kept, **named}


def _differing(
    context: Context, set_there: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Verdict]]:
    """Find variables that some nodes have otherwise than most."""
    nccl = any(count_gpus(s.host, s.facts, context.job) for s in context.nodes)
    for variable in sorted({name for each in set_there.values() for name in each} - _OF_ONE_NODE):
        values = {node: each.get(variable, "") for node, each in set_there.items()}
        common = most_common(values)
        having = [node for node, value in values.items() if value == common]
        secret = is_secret(variable, context.job.secrets)
        for node, value in values.items():
            if value == common:
                continue
            if secret:
                message = f"{variable} differs from that of {fold_names(having)}"
            else:
                theirs = f"on {fold_names(having)} it {_shown(variable, common or '')}"
                message = f"{variable} {_shown(variable, value)}, and {theirs}"
            status = Status.FAIL if nccl and variable in _OF_ALL_RANKS else Status.WARN
            text = f"set {variable} alike on every node: {_WHERE}"
            yield node, Verdict(status, message, text)


def _shown(variable: str, value: str) -> str:
    return f"is {masked_value(variable, value)[:60]!r}" if value else "is not set"


def _own(node: NodeContext, variables: Mapping[str, str]) -> Iterator[Verdict]:
    """Find what is wrong with one node's variables by themselves."""
    for variable, value in variables.items():
        if variable.startswith("PET_"):
            yield from _torchrun_option(node, variable)
        elif variable in UNREAD:
            yield warn(f"{variable} is set, and nobody reads it", UNREAD[variable])
        elif variable not in KNOWN and variable.startswith(("NCCL_", "GLOO_", "TORCH")):
            near = difflib.get_close_matches(variable, KNOWN, 1, cutoff=0.9)
            if near:
                text = f"{variable} is set, and nobody is known to read it"
                yield warn(text, f"did you mean {near[0]}?")
        elif variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            yield from _interface(node, variable, value)


def _torchrun_option(node: NodeContext, variable: str) -> Iterator[Verdict]:
    flag = node.context.launcher.option_of_variable(variable)
    argv = node.plan.processes[0].argv
    if flag is not None and flag not in {w.partition("=")[0].replace("_", "-") for w in argv}:
        yield warn(
            f"{variable} is set: torchrun takes it as its {flag}",
            f"say it with --launcher-arg {flag}=..., or leave it out",
        )


def _interface(node: NodeContext, variable: str, value: str) -> Iterator[Verdict]:
    """Find what is not the name of an interface, as NCCL or gloo take it."""
    names = [interface.name for interface in node.facts.interfaces]
    gloo = variable.startswith("GLOO")
    for part in value.split(","):
        name = part if gloo else part.lstrip("^=")
        if _is_address(name):
            own = interface_of(node.facts, name)
            yield fail(
                f"{variable} is {value!r}: an address, where the name of an interface is wanted",
                f"set {variable}={own}" if own else f"set one of: {', '.join(names)}",
            )
        elif gloo and name not in names:
            syntax = name.startswith(("^", "=")) or any(each.startswith(name) for each in names)
            wanted = "gloo takes whole names only" if syntax else "there is no such interface up"
            yield fail(
                f"{variable} is {value!r}: {wanted}",
                f"set one of: {', '.join(names)}; or none, and orch sets the right one",
            )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
