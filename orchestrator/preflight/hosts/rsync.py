"""Whether the project's files can be sent, which takes rsync on both sides."""

from __future__ import annotations

from orchestrator.preflight.judge import for_all, judge_nodes
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, skip

_ID = "host.rsync"
_INSTALL = (
    "if command -v apt-get >/dev/null; then apt-get install -y rsync; else dnf install -y rsync; fi"
)
_NO_SYNC = "or copy the files yourself and use --no-sync"


@check(_ID, Group.HOST, Level.QUICK)
def check_rsync(context: Context) -> list[Finding]:
    """This machine and every node have rsync, which sends the project's files.

    Looks for `rsync` in the PATH of a login without a terminal, on each node, and for an rsync that is new
    enough on this machine. Fails if there is none. Skipped if no files are sent: with `--no-sync`, and
    before a launch, which has sent them by then.
    """
    if not context.sends:
        return for_all(context, skip("no files are to be sent"))
    findings = judge_nodes(context, _judge)
    if (trouble := context.trouble.get(_ID)) is not None:
        findings.insert(0, fail(trouble.message, trouble.remedy or _NO_SYNC).on(()))
    return findings


def _judge(node: NodeContext) -> Verdict:
    if (path := node.facts.rsync) is None:
        message = "rsync is not installed: the project's files cannot be sent there"
        return fail(message, f"install rsync, {_NO_SYNC}", (_INSTALL,))
    return passed("has rsync", data={"path": path})
