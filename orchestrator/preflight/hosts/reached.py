"""Whether every host can be reached over SSH."""

from __future__ import annotations

from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import passed
from orchestrator.remote.grouped_errors import group_verdicts


@check("ssh.reach", Group.HOST, Level.QUICK)
def check_reach(context: Context) -> list[Finding]:
    """Every node lets orch in over SSH, without asking anything.

    One connection to each node in batch mode, within the connect time-out. Refused, timed out, no route, a
    name that does not resolve, an unknown or changed host key and a failed authentication are told apart,
    and each fails with what to do about it: start sshd, open the port, `ssh-copy-id`, compare the
    fingerprint. All other checks are made on the nodes that can be reached; a node that cannot is told of
    whatever was asked for with `--only`.
    """
    causes = {
        each.node: {"cause": each.cause, "message": each.message} for each in context.unreachable
    }
    findings = []
    for each in group_verdicts(context.unreachable):
        message = "; ".join([each.message, *each.evidence])
        data = {node: causes[node] for node in each.nodes}
        remedy = _here(each.remedy, each.nodes)
        findings.append(Finding(Status.FAIL, each.nodes, message, remedy, data))
    if context.names:
        findings += for_all(context, passed("lets orch in, and runs its agent"))
    return findings


def _here(text: str, nodes: tuple[str, ...]) -> Remedy:
    """A remedy that is not for the nodes' own shells: nobody gets into one there."""
    return Remedy(text, (), nodes)
