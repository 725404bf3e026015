"""Software: what must be the same on every node, and what must start there."""

from __future__ import annotations

import re

from orchestrator.preflight.judge import judge_each, most_common
from orchestrator.preflight.model import Check, Context, Finding, Group, NodeContext, check
from orchestrator.preflight.software import code, locks, modules, starting, variables, versions
from orchestrator.preflight.software.interpreter import SOFTWARE, Software
from orchestrator.preflight.verdict import Verdict, passed, warn


@check("sw.kernel", Group.SOFTWARE, probes=(SOFTWARE,))
def check_kernel(context: Context) -> list[Finding]:
    """The kernel is new enough.

    The release of Linux on each node. Below 5.5 it warns: jobs of several processes are known to hang
    there, and Accelerate warns about it as well. Nodes with another release than most are marked.
    """
    answers = context.answers_to(SOFTWARE).items()
    common = most_common({name: each.kernel for name, each in answers})

    def verdict(node: NodeContext, found: Software) -> Verdict:
        match = re.match(r"(\d{1,9})\.(\d{1,9})", found.kernel)
        data = {"kernel": found.kernel}
        if match and (int(match[1]), int(match[2])) < (5, 5):
            return warn(
                f"Linux {found.kernel}: below 5.5, processes of a job are known to hang",
                "upgrade the kernel to 5.5 or newer",
                data=data,
            )
        more = "" if found.kernel == common else ", different from most nodes"
        return passed(f"Linux {found.kernel}{more}", data=data)

    return judge_each(context, SOFTWARE, verdict)


CHECKS: tuple[Check, ...] = (
    versions.check_versions,
    modules.check_imports,
    locks.check_locks,
    starting.check_torch,
    starting.check_launcher,
    variables.check_environment,
    code.check_code,
    check_kernel,
)
