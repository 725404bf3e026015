"""The working folder: which nodes share it, whether they see the same in it, and as which user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.preflight.answers import ask
from orchestrator.preflight.judge import for_all, judge_nodes, most_common
from orchestrator.preflight.limits.storage import DISK
from orchestrator.preflight.model import (
    Advance,
    Context,
    Finding,
    Group,
    Measurement,
    NoAnswer,
    NodeContext,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn
from orchestrator.remote.fleet import Fleet


@dataclass(frozen=True)
class Sharing:
    """By node, the nodes whose marks in the working folder it sees, or why that is not known."""

    seen: Mapping[str, frozenset[str] | NoAnswer]

    @cached_property
    def known(self) -> Mapping[str, frozenset[str]]:
        """What the nodes that answered see."""
        return {name: seen for name, seen in self.seen.items() if not isinstance(seen, NoAnswer)}

    def group_of(self, name: str) -> frozenset[str]:
        """Return the nodes that share a folder with `name`, itself among them."""
        group, frontier = {name}, [name]
        while frontier:
            one = frontier.pop()
            seen = self.known.get(one, frozenset())
            linked = {o for o in self.seen if o in seen or one in self.known.get(o, ())} - group
            group |= linked
            frontier += linked
        return frozenset(group)


async def _mark(fleet: Fleet, context: Context, advance: Advance) -> Sharing:
    """Leave a mark in every working folder (or where it will be), and read all marks on each node."""
    folders = {
        name: next(folder.at for folder in found if folder.role == "workdir")
        for name, found in context.answers_to(DISK).items()
    }
    tokens = {name: f"{context.plan.run}-preflight-{i}" for i, name in enumerate(context.names)}
    agents = dict(zip(context.names, fleet.agents, strict=True))
    marked: dict[str, NoAnswer | None] = {}

    async def do(verb: str, name: str) -> None:
        marked[name] = await ask(
            agents[name], verb, lambda _: None, workdir=folders[name], token=tokens[name]
        )

    async def read(name: str) -> frozenset[str] | NoAnswer:
        if name not in folders:
            return NoAnswer("its working folder is not known")
        if (failure := marked[name]) is not None:
            return failure
        found = await ask(
            agents[name],
            "shared",
            lambda raw: frozenset(owner for owner, token in tokens.items() if token in raw),
            workdir=folders[name],
            tokens=list(tokens.values()),
        )
        advance(name, not isinstance(found, NoAnswer))
        return found

    try:
        await asyncio.gather(*(do("prepare", name) for name in folders))
        seen = await asyncio.gather(*(read(name) for name in context.names))
    finally:
        await asyncio.gather(*(do("tidy", name) for name in folders))
    return Sharing(dict(zip(context.names, seen, strict=True)))


MARKS = Measurement("shared folders", Sharing, _mark)


@check("shared", Group.LIMITS, probes=(DISK,), measurements=(MARKS,))
def check_shared(context: Context) -> list[Finding]:
    """The working folder is shared by all nodes, or by none.

    Each node leaves an empty file, with the name of this preflight, in its working folder (or where that
    will be made), and each looks for all of them; then they are removed.

    A folder of its own on each node passes, and so does one folder for all: it is written once. Warns if
    some nodes share a folder and others do not, because a checkpoint is then on some only. Fails if a node
    does not see what another (or itself) has just written to the folder that they share: a network file
    system that serves an old view.
    """
    if len(context.names) < 2:
        return for_all(context, skip("there is only one node"))
    sharing = context.require(Sharing)

    def stale(node: NodeContext) -> Iterator[Verdict]:
        seen = sharing.seen[node.name]
        if isinstance(seen, NoAnswer):
            yield incomplete(seen.reason)
            return
        expected = sharing.group_of(node.name) & sharing.known.keys()
        if missed := sorted(expected - seen, key=context.names.index):
            itself = node.name in missed
            what = "what it writes itself" if itself else f"what {', '.join(missed[:4])} wrote"
            yield fail(
                f"does not see {what} to the working folder a moment ago",
                "mount it without name caching (NFS: lookupcache=positive or actimeo=1), or set another "
                "`workdir:` in the inventory",
            )

    if troubles := judge_nodes(context, stale):
        return troubles
    groups = {sharing.group_of(name) for name in context.names}
    if len(groups) == 1:
        return for_all(context, passed("share one working folder"))
    shared = [
        warn(
            "share a working folder that the other nodes do not: what a rank writes there is on some nodes "
            "only",
            "give all nodes a `workdir:` on the shared file system, or none, in the inventory",
        ).on(sorted(group, key=context.names.index))
        for group in groups
        if len(group) > 1
    ]
    shared.sort(key=lambda finding: context.names.index(finding.nodes[0]))
    return shared or for_all(context, passed("have a working folder of their own each"))


@check("user", Group.LIMITS, probes=(DISK,), measurements=(MARKS,))
def check_user(context: Context) -> list[Finding]:
    """All nodes log in to one user id.

    Compares the numeric user ids of the logins. Different ones fail if they share the working folder,
    because a file server uses the number: what one node writes another may not change. Otherwise they warn,
    because of data sets and checkpoints on other shared file systems.
    """
    uids = {node.name: node.facts.uid for node in context.nodes}
    common = most_common(uids)
    if len(set(uids.values())) == 1:
        return for_all(context, passed("log in to one and the same user id", data={"uid": common}))
    sharing = context.require(Sharing)

    def verdict(node: NodeContext) -> Iterator[Verdict]:
        uid = node.facts.uid
        others = sorted({uids[other] for other in sharing.group_of(node.name)} - {uid})
        if uid == common:
            return
        conflict = "neither may change what the other wrote"
        fix, data = "log in as the same user everywhere (`user:` in the inventory)", {"uid": uid}
        if others:
            shared = ", ".join(map(str, others))
            message = (
                f"logs in as user id {uid}, but shares its working folder with user id {shared}"
            )
            yield fail(f"{message}: {conflict}", fix, data=data)
        else:
            message = f"logs in as user id {uid}, the others as {common}: on a shared file system"
            yield warn(f"{message} {conflict}", fix, data=data)

    return judge_nodes(context, verdict)
