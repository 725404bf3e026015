"""The variables that control communication: the same on every node, and read by a library."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator, Mapping

from orchestrator.inventory.ranges import fold as fold_names
from orchestrator.plan.masking import is_secret, masked_value
from orchestrator.plan.network import interface_of
from orchestrator.preflight.judge import judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.software.known_variables import KNOWN, UNREAD
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.groups import grouped

# These name things of one node, so they may differ.
_OF_ONE_NODE = {
    "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_TOPO_FILE",
    "NCCL_HOSTID", "NCCL_DEBUG_FILE", "UCX_NET_DEVICES",
}  # fmt: skip
# Ranks with different values of these cannot communicate.
_OF_ALL_RANKS = {"NCCL_IB_DISABLE", "NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_ALGO", "NCCL_PROTO"}
_PREFIXES = (
    "NCCL_", "GLOO_", "TORCH_", "TORCHELASTIC_", "FI_", "UCX_", "OMP_", "KMP_", "PET_",
    "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_MAX_COMPARED = 100
"""Unknown variables of a node that are compared with the known ones, which takes about 1 ms each."""
_WHERE = (
    "see the login's environment there (~/.bashrc, ~/.ssh/environment, /etc/environment) and `env:`"
)

VARIABLES = Probe(
    "login.variables", lambda raw: {str(name): str(value) for name, value in raw.items()}
)


@check("sw.env", Group.SOFTWARE, probes=(VARIABLES,))
def check_environment(context: Context) -> list[Finding]:
    """Variables of NCCL, gloo and torch are the same on every node, and read by a library.

    NCCL_*, GLOO_*, TORCH*_*, FI_*, UCX_*, OMP_* and CUDA_VISIBLE_DEVICES, as the login and the inventory
    set them. A variable that differs between nodes warns, and fails if ranks with different values cannot
    communicate (NCCL_IB_DISABLE, NCCL_NET, NCCL_ALGO, NCCL_PROTO); names of interfaces may differ. Values
    of secrets are never shown.

    Fails for an address instead of an interface's name, and for a GLOO_SOCKET_IFNAME that is not a whole
    name (gloo does not support `^`, `=` or prefixes). Warns for a name that nothing reads, such as
    NCCL_TIMEOUT or NCCL_SOCKET_PORT_RANGE, for a misspelt one, and for PET_* that torchrun takes as
    options.
    """
    logins = context.answers_to(VARIABLES)
    set_there = {
        node.name: _set_by_user(node, logins[node.name])
        for node in context.nodes
        if node.name in logins
    }
    differing = grouped(_differing(context, set_there))

    def verdicts(node: NodeContext) -> list[Verdict]:
        node.answer(VARIABLES)
        found = [*differing.get(node.name, ()), *_own(node, set_there[node.name])]
        return found or [passed("no variable differs, and each is read")]

    return judge_nodes(context, verdicts)


def _set_by_user(node: NodeContext, login: Mapping[str, str]) -> dict[str, str]:
    """Return these variables as the user has set them, at the login or for the job."""
    given = {**node.host.env, **node.context.job.environment}
    kept = {
        name: value
        for name, value in login.items()
        if name not in node.plan.unset and not name.startswith("PET_")  # orch drops those
    }
    return {**kept, **{name: value for name, value in given.items() if name.startswith(_PREFIXES)}}


def _differing(
    context: Context, set_there: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Verdict]]:
    """Yield (node, verdict) for variables that some nodes set differently from most."""
    nccl = any(node.gpus for node in context.nodes)
    for variable in sorted({name for each in set_there.values() for name in each} - _OF_ONE_NODE):
        values = {node: each.get(variable, "") for node, each in set_there.items()}
        common = most_common(values) or ""
        having = fold_names([node for node, value in values.items() if value == common])
        secret = is_secret(variable, context.job.secrets)
        status = Status.FAIL if nccl and variable in _OF_ALL_RANKS else Status.WARN
        for node, value in values.items():
            if value == common:
                continue
            message = f"{variable} {_shown(variable, value)}, and on {having} it {_shown(variable, common)}"
            if secret:
                message = f"{variable} differs from that of {having}"
            yield node, Verdict(status, message, f"set {variable} equally on every node: {_WHERE}")


def _shown(variable: str, value: str) -> str:
    return f"is {masked_value(variable, value)[:60]!r}" if value else "is not set"


def _own(node: NodeContext, variables: Mapping[str, str]) -> Iterator[Verdict]:
    """Yield what is wrong with one node's variables by themselves."""
    compared = 0
    for variable, value in variables.items():
        if variable.startswith("PET_"):
            yield from _torchrun_option(node, variable)
        elif variable in UNREAD:
            yield warn(f"{variable} is set, but nothing reads it", UNREAD[variable])
        elif variable not in KNOWN and variable.startswith(("NCCL_", "GLOO_", "TORCH")):
            compared += 1
            if compared > _MAX_COMPARED:
                continue
            near = difflib.get_close_matches(variable, KNOWN, 1, cutoff=0.9)
            if near:
                message = f"{variable} is set, but nothing is known to read it"
                yield warn(message, f"did you mean {near[0]}?")
        elif variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            yield from _interface(node, variable, value)


def _torchrun_option(node: NodeContext, variable: str) -> Iterator[Verdict]:
    flag = node.context.launcher.option_of_variable(variable)
    argv = node.plan.processes[0].argv
    if flag is not None and flag not in {w.partition("=")[0].replace("_", "-") for w in argv}:
        yield warn(
            f"{variable} is set: torchrun takes it as its {flag}",
            f"pass it with --launcher-arg {flag}=..., or unset it",
        )


def _interface(node: NodeContext, variable: str, value: str) -> Iterator[Verdict]:
    """Yield what is not the name of an interface in the form that NCCL or gloo takes."""
    names = [interface.name for interface in node.facts.interfaces]
    gloo = variable.startswith("GLOO")
    for part in value.split(","):
        name = part if gloo else part.lstrip("^=")
        if _is_address(name):
            own = interface_of(node.facts, name)
            yield fail(
                f"{variable} is {value!r}: an address instead of the name of an interface",
                f"set {variable}={own}" if own else f"set one of: {', '.join(names)}",
            )
        elif gloo and name not in names:
            syntax = name.startswith(("^", "=")) or any(each.startswith(name) for each in names)
            wanted = "gloo takes whole names only" if syntax else "there is no such interface up"
            yield fail(
                f"{variable} is {value!r}: {wanted}",
                f"set one of: {', '.join(names)}; or unset it, and orch sets the right one",
            )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
