"""Whether the project's files can be sent: rsync does that, on both sides."""

from __future__ import annotations

from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, skip

_ID = "host.rsync"
_INSTALL = (
    "if command -v apt-get >/dev/null; then apt-get install -y rsync; else dnf install -y rsync; fi"
)
_OR_NOT = "or bring the files yourself and use --no-sync"


@check(_ID, Group.HOST, Level.QUICK)
def check_rsync(context: Context) -> list[Finding]:
    """This machine and every node have rsync, which sends the project's files.

    Looks for `rsync` in the PATH of a login without a terminal, on each node, and for an rsync that is new
    enough on this machine. Fails where there is none. Skipped where no files are sent: with `--no-sync`,
    and before a launch, which has sent them by then.
    """
    if not context.sends:
        return for_all(context, skip("no files are to be sent"))
    findings = []
    if (trouble := context.trouble.get(_ID)) is not None:
        remedy = Remedy(trouble.remedy or _OR_NOT)
        findings.append(Finding(Status.FAIL, (), trouble.message, remedy))
    return findings + to_findings((each.name, _judge(each.facts.rsync)) for each in context.nodes)


def _judge(rsync: str | None) -> Verdict:
    if rsync is None:
        message = "rsync is not installed: the project's files cannot be sent there"
        return fail(message, f"install rsync, {_OR_NOT}", (_INSTALL,))
    return passed("has rsync", data={"path": rsync})
