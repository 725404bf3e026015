"""A small real collective, through the launcher, environment and interface that the job will use."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.preflight.collectives.failure import Failure, describe_end, failures
from orchestrator.preflight.collectives.measured import Gloo, Measured, Nccl
from orchestrator.preflight.collectives.pace import EXPECTED, judge_pace
from orchestrator.preflight.collectives.stage import GLOO, NCCL, why_not
from orchestrator.preflight.judge import for_all
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    Remedy,
    Status,
)
from orchestrator.preflight.verdict import skip


def _verdict(kind: type[Measured]) -> Callable[[Context], list[Finding]]:
    def verdict(context: Context) -> list[Finding]:
        reason = why_not(kind, context)
        if reason is not None:
            return for_all(context, skip(f"is not tried: {reason}"))
        found = context.require(kind)
        findings = [*_wrong_sums(context, found), *_broken(context, found)]
        if found.complete and not found.wrong:
            findings.extend(judge_pace(context, found))
        return findings

    return verdict


def _wrong_sums(context: Context, found: Measured) -> list[Finding]:
    nodes = tuple(found.wrong)
    if not nodes:
        return []
    remedy = "memory, a network card or a driver changes data: take the node out of the job" + (
        "; with all nodes concerned, try them two by two"
        if len(nodes) == len(context.names)
        else ""
    )
    message = f"the sum of an all_reduce over {found.backend} is wrong"
    data = {name: {"ranks": list(ranks)} for name, ranks in found.wrong.items()}
    return [Finding(Status.FAIL, nodes, message, Remedy(remedy, nodes=nodes), data)]


def _broken(context: Context, found: Measured) -> list[Finding]:
    """What kept the trial from its end, or happened at the end of it."""
    findings = []
    for share in found.shares:
        if share.trouble is not None:
            findings.append(Finding(Status.INCOMPLETE, (share.node,), share.trouble))
    if found.complete:
        findings.extend(
            Finding(
                Status.WARN,
                (share.node,),
                f"after an all_reduce over {found.backend} went well, {describe_end(share)}",
                Remedy("a job may end like this too: its exit code would tell a failure"),
            )
            for share in found.shares
            if share.failed and share.trouble is None
        )
        return findings
    findings.extend(_failures(found))
    if not findings:
        absent = tuple(found.absent)
        what = "never joined the others" if absent else "did not come to its end in time"
        remedy = "see which way is blocked: `orch preflight --only net`"
        nodes = absent or context.names
        message = f"an all_reduce over {found.backend}: it {what}"
        findings.append(Finding(Status.FAIL, nodes, message, Remedy(remedy, nodes=nodes)))
    return findings


def _failures(found: Measured) -> list[Finding]:
    """Return a finding for each meaning, with the words of the first node that has it."""
    alike: dict[tuple[str, str | None], list[Failure]] = {}
    for failure in failures(found.shares):
        alike.setdefault((failure.meaning, failure.check), []).append(failure)
    findings = []
    for (meaning, check), members in alike.items():
        nodes = tuple(failure.node for failure in members)
        said = members[0].said
        message = f"an all_reduce over {found.backend} fails: {meaning}"
        if said:
            who = "" if len(nodes) == 1 else f" on {nodes[0]}"
            message += f" (its last words{who}: {said})"
        text = (
            f"`orch preflight --only {check}` tells more"
            if check is not None
            else "mend what its last words name; the job's own ranks would end alike"
        )
        data = {failure.node: {"said": failure.said} for failure in members}
        findings.append(Finding(Status.FAIL, nodes, message, Remedy(text, nodes=nodes), data))
    return findings


_PAGE = (
    "A script of orch's own is started as the job would be: same launcher, interpreter, environment, "
    "interface, main address and port{ranks}. The ranks all-reduce {sizes} and check the sum; then nodes "
    "exchange data two by two, each with every other (with 15 at most), never in two pairs at once. "
)
_PAGE_SLOW = (
    "A node below 0.85 of what is usual is tried again with a good partner: below {again} once more warns, "
    "below 0.3 fails; so does a pair whose nodes are well with others. One that reaches 70 % of the link "
    "(over gloo, of 10 Gb/s if that is less) is not slow: faster CPUs are the difference. "
)
_PAGE_FAILS = (
    "It fails as well when a sum is wrong (memory, network card or driver), and when the ranks do not "
    "find each other or end badly: the finding has their last words and the check that tells more. "
    "Incomplete when the way is known to be blocked, for then the ranks would wait in vain. Nothing is "
    "left on the nodes."
)

CHECKS = (
    Check(
        id="coll.gloo",
        group=Group.COLLECTIVE,
        level=Level.FULL,
        meaning="an all_reduce over gloo works, with one rank a node, and no node is slow in it",
        page=_PAGE.format(ranks=", one rank a node", sizes="1 and 32 MiB")
        + _PAGE_SLOW.format(again=EXPECTED[Gloo].slow)
        + "gloo sums on one thread, so a fast link stays partly idle: less than a tenth of the link's "
        "speed (of 10 Gb/s for faster links) warns. " + _PAGE_FAILS,
        verdict=_verdict(Gloo),
        measurements=(GLOO,),
    ),
    Check(
        id="coll.nccl",
        group=Group.COLLECTIVE,
        level=Level.FULL,
        meaning="an all_reduce over NCCL works on the job's GPUs, and is as fast as the link",
        page=_PAGE.format(ranks=" and number of ranks", sizes="1, 64 and 1024 MiB")
        + _PAGE_SLOW.format(again=EXPECTED[Nccl].slow)
        + "A busbw (2(n-1)/n of the bytes a second) below 70 % of the link's speed warns, below 30 % "
        "fails; where the speed is not known, nodes are held against each other. Skipped where a node "
        "has no GPU. " + _PAGE_FAILS,
        verdict=_verdict(Nccl),
        measurements=(NCCL,),
    ),
)
