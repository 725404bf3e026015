"""The working folder: which nodes share it, whether they see alike what is in it, and as whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.preflight.answers import ask
from orchestrator.preflight.judge import for_all, most_common, to_findings
from orchestrator.preflight.limits.storage import DISK
from orchestrator.preflight.model import (
    Advance,
    Context,
    Finding,
    Group,
    Measurement,
    NoAnswer,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip
from orchestrator.remote.fleet import Fleet


@dataclass(frozen=True)
class Sharing:
    """By node, whose marks in the working folder it sees, or why that is not known."""

    seen: Mapping[str, frozenset[str] | NoAnswer]

    def group_of(self, name: str) -> frozenset[str]:
        """Return the nodes that share a folder with `name`, itself among them."""
        group, frontier = {name}, [name]
        while frontier:
            one = frontier.pop()
            for other, seen in self.seen.items():
                mine = self.seen[one]
                linked = (not isinstance(seen, NoAnswer) and one in seen) or (
                    not isinstance(mine, NoAnswer) and other in mine
                )
                if linked and other not in group:
                    group.add(other)
                    frontier.append(other)
        return frozenset(group)


async def _mark(fleet: Fleet, context: Context, advance: Advance) -> Sharing:
    """Leave a mark in every working folder (or where it will be), and see who sees it."""
    rooms = context.of(DISK)
    places = {
        name: next(room.at for room in found if room.role == "workdir")
        for name, found in rooms.items()
        if not isinstance(found, NoAnswer)
    }
    tokens = {name: f"{context.plan.run}-preflight-{i}" for i, name in enumerate(context.names)}
    agents = dict(zip(context.names, fleet.agents, strict=True))
    marked: dict[str, NoAnswer | None] = {}

    async def do(verb: str, name: str) -> None:
        marked[name] = await ask(
            agents[name], verb, lambda _: None, workdir=places[name], token=tokens[name]
        )

    async def look(name: str) -> frozenset[str] | NoAnswer:
        if name not in places:
            return NoAnswer("its working folder is not known")
        if (failure := marked[name]) is not None:
            return failure
        found = await ask(
            agents[name],
            "shared",
            lambda raw: frozenset(owner for owner, token in tokens.items() if token in raw),
            workdir=places[name],
            tokens=list(tokens.values()),
        )
        advance(name, not isinstance(found, NoAnswer))
        return found

    try:
        await asyncio.gather(*(do("prepare", name) for name in places))
        seen = await asyncio.gather(*(look(name) for name in context.names))
    finally:
        await asyncio.gather(*(do("tidy", name) for name in places))
    return Sharing(dict(zip(context.names, seen, strict=True)))


MARKS = Measurement("shared folders", Sharing, _mark)


@check("shared", Group.LIMITS, probes=(DISK,), measurements=(MARKS,))
def check_shared(context: Context) -> list[Finding]:
    """The working folder is shared by all nodes, or by none.

    Each node leaves an empty file, named by this very preflight, in its working folder (or where that will
    be made), and each looks for all of them; then they are removed.

    A folder of its own on each node passes, and so does one folder for all: it is written once. Warns when
    some nodes share a folder and others do not, for a checkpoint is then there on some only. Fails when a
    node does not see what another (or itself) has just written to the folder that they share: a network
    file system that serves an old view.
    """
    if len(context.names) < 2:
        return for_all(context, skip("there is one node only"))
    found = context.require(Sharing)
    blind = [(name, _judge_view(context, found, name, seen)) for name, seen in found.seen.items()]
    troubles = [(name, verdict) for name, verdict in blind if verdict is not None]
    if troubles:
        return to_findings(troubles)
    groups = {found.group_of(name) for name in context.names}
    together = [group for group in groups if len(group) > 1]
    if not together:
        return for_all(context, passed("have a working folder each, of their own"))
    if len(groups) == 1:
        return for_all(context, passed("share one working folder"))
    return [
        Finding(
            Status.WARN,
            tuple(name for name in context.names if name in group),
            "share a working folder that the other nodes do not: what a rank writes there is seen on some "
            "nodes only",
            Remedy(
                "give all nodes a `workdir:` on the shared file system, or none, in the inventory",
                (),
                tuple(name for name in context.names if name in group),
            ),
        )
        for group in sorted(
            together, key=lambda group: [name not in group for name in context.names]
        )
    ]


def _judge_view(
    context: Context, sharing: Sharing, name: str, seen: frozenset[str] | NoAnswer
) -> Verdict | None:
    """Return what is wrong with what one node sees of the folder, if anything is."""
    if isinstance(seen, NoAnswer):
        return incomplete(seen.reason)
    expected = {other for other in sharing.group_of(name) if other in _answering(sharing)}
    missed = sorted(expected - seen, key=context.names.index)
    if not missed:
        return None
    told = "what it writes itself" if name in missed else f"what {', '.join(missed[:4])} wrote"
    return fail(
        f"does not see {told} to the working folder a moment ago",
        "mount it without caching of names (NFS: lookupcache=positive or actimeo=1), or set another "
        "`workdir:` in the inventory",
    )


def _answering(sharing: Sharing) -> set[str]:
    return {name for name, seen in sharing.seen.items() if not isinstance(seen, NoAnswer)}


@check("user", Group.LIMITS, probes=(DISK,), measurements=(MARKS,))
def check_user(context: Context) -> list[Finding]:
    """All nodes log in to one user id.

    Compares the numeric user id of the logins. Different ones fail where they share the working folder, for
    a file server goes by the number: what one node writes another may not change. Otherwise they warn, for
    data sets and checkpoints on other shared file systems.
    """
    uids = {name: facts.uid for name, facts in zip(context.names, context.facts, strict=True)}
    common = most_common(uids)
    if len(set(uids.values())) == 1:
        return for_all(context, passed("log in to one and the same user id", data={"uid": common}))
    found = context.require(Sharing)
    verdicts = []
    for name, uid in uids.items():
        if uid == common:
            continue
        others = {uids[other] for other in found.group_of(name)} - {uid}
        if others:
            told = (
                f"logs in as user id {uid}, but shares its working folder with user id "
                f"{', '.join(map(str, sorted(others)))}: neither may write what the other made"
            )
        else:
            told = f"logs in as user id {uid}, the others as {common}: on a shared file system "
            told += "neither may write what the other made"
        status = Status.FAIL if others else Status.WARN
        remedy = "log in as the same user everywhere (`user:` in the inventory)"
        verdicts.append((name, Verdict(status, told, remedy, data={"uid": uid})))
    return to_findings(verdicts)
