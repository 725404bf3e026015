"""Whether every host can be reached over SSH."""

from __future__ import annotations

from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import Context, Finding, Group, Level, check
from orchestrator.preflight.verdict import fail, passed
from orchestrator.remote.grouped_errors import group_verdicts


@check("ssh.reach", Group.HOST, Level.QUICK)
def check_reach(context: Context) -> list[Finding]:
    """Every node lets orch in over SSH, without a prompt.

    One connection to each node in batch mode, within the connect timeout. Refused, timed out, no route, a
    name that does not resolve, an unknown or changed host key and a failed authentication are
    distinguished, and each fails with its remedy: start sshd, open the port, `ssh-copy-id`, compare the
    fingerprint. All other checks are made on the nodes that can be reached; one that cannot is reported
    with any `--only`.
    """
    causes = {
        each.node: {"cause": each.cause, "message": each.message} for each in context.unreachable
    }
    findings = [
        fail(
            "; ".join([each.message, *each.evidence]),
            each.remedy,
            data={node: causes[node] for node in each.nodes},
        ).on(each.nodes)
        for each in group_verdicts(context.unreachable)
    ]
    if context.names:
        findings += for_all(context, passed("lets orch in, and runs its agent"))
    return findings
