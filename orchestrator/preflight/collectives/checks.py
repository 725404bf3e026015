"""A small real collective, with the launcher, environment and interface of the job."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.preflight.collectives.failure import describe_end, failures
from orchestrator.preflight.collectives.measure import GLOO, NCCL, why_not
from orchestrator.preflight.collectives.result import Gloo, Nccl, Result
from orchestrator.preflight.collectives.speed import judge_speed
from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import Context, Finding, Group, Status, check
from orchestrator.preflight.verdict import Verdict, fail, skip, warn
from orchestrator.util.groups import grouped


@check("coll.gloo", Group.COLLECTIVE, measurements=(GLOO,))
def check_gloo(context: Context) -> list[Finding]:
    """An all_reduce over gloo works, with one rank per node, and no node is slow in it.

    A script of orch's own is started as the job would be: same launcher, interpreter, environment,
    interface, main address and port, with one rank per node. The ranks all-reduce 1 and 32 MiB and check
    the sum; then nodes exchange data in pairs, each with every other (with 15 at most), never in two pairs
    at once. A node below 0.85 of what is usual is measured again with a good partner: below 0.7 again
    warns, below 0.3 fails; so does a pair of nodes that are fast with others. A node that reaches 70 % of
    the link (of 10 Gb/s for faster links) is not slow: faster CPUs are the difference. gloo sums on one
    thread, so a fast link stays partly idle: less than a tenth of the link's speed (of 10 Gb/s for faster
    links) warns.

    Also fails if a sum is wrong (memory, network card or driver), and if the ranks do not find each other
    or fail: the finding has the last line of their output and the check with details. Incomplete if
    connections are known to be blocked, because the ranks would only time out. Nothing is left on the
    nodes.
    """
    return _judge(context, Gloo)


@check("coll.nccl", Group.COLLECTIVE, measurements=(NCCL,))
def check_nccl(context: Context) -> list[Finding]:
    """An all_reduce over NCCL works on the job's GPUs, and is as fast as the link.

    As `coll.gloo`, but with the job's own number of ranks, on its GPUs, and 1, 64 and 1024 MiB. A node
    below 0.85 of what is usual that is below 0.85 again warns, below 0.3 fails; a node that reaches 70 % of
    the link is not slow. A busbw (2(n-1)/n of the bytes per second) below 70 % of the link's speed warns,
    below 30 % fails; if the speed is not known, nodes are compared with each other. Skipped if a node has
    no GPU.
    """
    return _judge(context, Nccl)


def _judge(context: Context, kind: type[Result]) -> list[Finding]:
    reason = why_not(kind, context)
    if reason is not None:
        return for_all(context, skip(f"is not tried: {reason}"))
    found = context.require(kind)
    findings = [*_wrong_sums(context, found)]
    findings += _crashes(found) if found.complete else _failures(context, found)
    if found.complete and not found.wrong:
        findings += judge_speed(context, found)
    return findings


def _wrong_sums(context: Context, found: Result) -> Iterator[Finding]:
    if found.wrong:
        every = len(found.wrong) == len(context.names)
        yield fail(
            f"the sum of an all_reduce over {found.backend} is wrong",
            "memory, a network card or a driver changes data: take the node out of the job"
            + ("; as it is every node, try them in pairs" if every else ""),
            data={name: {"ranks": list(ranks)} for name, ranks in found.wrong.items()},
        ).on(tuple(found.wrong))


def _crashes(found: Result) -> Iterator[Finding]:
    """Yield findings on processes that failed after they had done everything."""
    yield from _problems(found)
    for share in found.shares:
        if share.failed and share.problem is None:
            yield warn(
                f"after an all_reduce over {found.backend} succeeded, {describe_end(share)}",
                "a job may end like this too, and its exit code would report a failure",
            ).on([share.node])


def _failures(context: Context, found: Result) -> list[Finding]:
    """Return findings on what failed, one for each meaning, with the output of its first node."""
    what = f"an all_reduce over {found.backend}"
    findings = [*_problems(found)]
    by_meaning = grouped(((each.meaning, each.check), each) for each in failures(found.shares))
    for (meaning, check_id), members in by_meaning.items():
        nodes = [failure.node for failure in members]
        message = f"{what} fails: {meaning}"
        if line := members[0].line:
            message += f" (last output{'' if len(nodes) == 1 else f' on {nodes[0]}'}: {line})"
        details = f"`orch preflight --only {check_id}` has details"
        fix = details if check_id else "fix what the output names; the job itself would fail too"
        data = {failure.node: {"said": failure.line} for failure in members}
        findings.append(fail(message, fix, data=data).on(nodes))
    if not findings:
        end = "never joined the others" if found.missing else "did not finish in time"
        fix = "see which connections are blocked: `orch preflight --only net`"
        findings = [fail(f"{what}: it {end}", fix).on(tuple(found.missing) or context.names)]
    return findings


def _problems(found: Result) -> Iterator[Finding]:
    """Yield findings on nodes where the trial could not be started, or was lost."""
    for share in found.shares:
        if share.problem is not None:
            yield Verdict(Status.INCOMPLETE, share.problem).on([share.node])


CHECKS = (check_gloo, check_nccl)
