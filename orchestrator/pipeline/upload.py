"""Bring a project's files to every node, once to each folder that several nodes share.

All that has not changed costs each node one question. Where something is to be brought, the nodes say who
shares a folder, and one of those compares, receives and records it (`sync/placement.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import events
from orchestrator.errors import SyncError
from orchestrator.pipeline.phase import Phase
from orchestrator.plan import Plan
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.sync import Progress, Pushed, Tree, collect, messages, placement, push_all
from orchestrator.sync.copied import read_copy
from orchestrator.sync.placement import Comparison, Seen
from orchestrator.sync.sharing import sharing
from orchestrator.util.text import counted, first_few, printable

_LOOK_AGAIN = 0.5  # seconds after which it is seen whether another run has placed its files


@dataclass(frozen=True)
class Files:
    """What is to be on the nodes.

    It belongs to the project `owner`, whose `source` is told to people, and comes from `folder` (None: it
    is there already). Nodes that are named in `own` have it in a folder of the project's own, others
    where the plan says. With `overwrite`, it goes even where a file has changed on a node. The `names`
    are of files that the script opens. `digest` is of the tree that the run was launched with (None: it
    is launched now); `copy` is where that may have been copied to here.
    """

    owner: str
    source: str
    folder: Path | None
    own: frozenset[str]
    overwrite: bool = False
    names: tuple[str, ...] = ()
    digest: str | None = None
    copy: Path | None = None


async def find(fleet: Fleet, plan: Plan, files: Files) -> Plan:
    """Return the plan with the folders that the project has on the nodes, or would have."""

    async def one(index: int) -> str:
        node = plan.nodes[index]
        if node.name not in files.own:
            return node.workdir
        return await placement.find(fleet.agents[index], node.workdir, files.owner, files.source)

    return _in_folders(plan, await fleet.each(range(len(plan.nodes)), one))


async def upload(
    fleet: Fleet, plan: Plan, files: Files, tree: Tree | None, emit: events.Emit
) -> tuple[Plan, Tree | None]:
    """Have the files on every node; return the plan with the folders that they are in, and the tree that
    they are (None: it was not looked at here). `tree` is what goes of their folder (None: not looked at).

    Raises SyncError that names each node that they could not be brought to, or where another run would
    have its files changed.
    """
    if files.folder is None:
        seen = await _enter(fleet, plan, files, None, None, emit)
        return _in_folders(plan, [each.workdir for each in seen]), None
    with Phase("sync", (node.name for node in plan.nodes), emit) as phase:
        if tree is None and files.digest is None:
            tree = await asyncio.to_thread(collect, files.folder)
        digest = files.digest or (tree.digest if tree else "")
        seen = await _enter(fleet, plan, files, digest, tree, emit)
        plan = _in_folders(plan, [each.workdir for each in seen])
        comparisons = {i: each.comparison for i, each in enumerate(seen) if each.is_done}
        have = {i: each.have for i, each in enumerate(seen) if each.is_done}
        sent = 0
        if len(comparisons) < len(seen):
            if tree is None:
                tree = await asyncio.to_thread(_tree_of_launch, files.folder, digest, files.copy)
            changed, have = await _Push(fleet, plan, files, digest, tree, seen, emit).run()
            comparisons.update(changed)
            sent = len(changed)
        _tell(plan, seen, comparisons, have, emit)
        count = len(tree.files) if tree is not None else None
        phase.detail = _describe(count, sent, len(have), len(seen))
    return plan, tree


def _tree_of_launch(folder: Path, digest: str, copy: Path | None) -> Tree:
    """Return the tree with this digest, or where it is not to be had any more, that of now."""
    copied = None if copy is None else read_copy(copy, digest)
    return copied or collect(folder)


async def _enter(
    fleet: Fleet,
    plan: Plan,
    files: Files,
    digest: str | None,
    tree: Tree | None,
    emit: events.Emit,
) -> list[Seen]:
    """Take part on all nodes, once no other run is about to place files on one of them."""
    waits_for = ""
    while True:

        async def one(index: int) -> Seen | str:
            node = plan.nodes[index]
            arguments = {
                "run": plan.run,
                "node": node.name,
                "own": node.name in files.own,
                "owner": files.owner,
                "source": files.source,
                "digest": digest,
                "names": list(files.names),
                "overwrite": files.overwrite,
                "again": files.digest is not None,
            }
            return await placement.enter(
                fleet.agents[index], node.workdir, arguments, placement.time_limit(tree)
            )

        answers: list[Seen | str] = await fleet.each(range(len(plan.nodes)), one)
        busy = [answer for answer in answers if isinstance(answer, str)]
        if not busy:
            return [answer for answer in answers if isinstance(answer, Seen)]
        # Two runs that each had some of the nodes would wait for each other.
        await fleet.each(fleet.agents, lambda agent: placement.leave(agent, plan.run))
        if busy[0] != waits_for:
            waits_for = busy[0]
            emit(
                events.Warned(f"waiting for run {printable(waits_for)}, which places its files now")
            )
        await asyncio.sleep(_LOOK_AGAIN * random.uniform(0.5, 1.5))


class _Push:
    """Bring a tree to those nodes of a plan that have not got it."""

    def __init__(
        self,
        fleet: Fleet,
        plan: Plan,
        files: Files,
        digest: str,
        tree: Tree,
        seen: Sequence[Seen],
        emit: events.Emit,
    ) -> None:
        self._fleet, self._plan, self._files, self._digest = fleet, plan, files, digest
        self._tree, self._seen, self._emit = tree, seen, emit
        self._patience = placement.time_limit(tree)

    async def run(self) -> tuple[dict[int, Comparison], dict[int, frozenset[str]]]:
        """Return what was to be done, by the position of the node that has it, and which files each folder
        has, other than placed, by the position of one node of it.
        """
        folders = [node.workdir for node in self._plan.nodes]
        async with sharing(self._fleet, folders, self._plan.run) as groups:
            targets = {self._target(group): group for group in groups}
            have = {i: self._seen[i].have for i in targets}
            there = [i for i in targets if not self._seen[i].is_done]
            idle = [i for i, each in enumerate(self._seen) if not each.is_done and i not in there]
            self._require_files_of_the_launch(there)
            listing = placement.packed(self._tree)
            found: list[Comparison] = await self._fleet.each(
                there,
                lambda i: placement.compare(
                    self._fleet.agents[i], self._plan.run, listing, self._patience
                ),
            )
            comparisons = dict(zip(there, found, strict=True))
            self._require_a_way(comparisons)
            self._require_no_other_run(comparisons, targets)
            await self._fleet.each(there, self._begin)
            await self._send(comparisons)
            settled: list[frozenset[str]] = await self._fleet.each(there, self._settle)
            have.update(zip(there, settled, strict=True))
            await self._fleet.each(
                idle, self._give_up_turn
            )  # which is the run's where a home is shared
        return comparisons, have

    def _target(self, group: Sequence[int]) -> int:
        """Return which node of a group places files there: one that knows what it has."""
        return max(group, key=lambda i: (self._seen[i].is_done, self._seen[i].time, -i))

    async def _give_up_turn(self, index: int) -> None:
        await placement.leave(self._fleet.agents[index], self._plan.run, stay=True)

    async def _begin(self, index: int) -> None:
        node = self._plan.nodes[index]
        await placement.begin(
            self._fleet.agents[index], self._plan.run, node.workdir, self._patience
        )

    async def _settle(self, index: int) -> frozenset[str]:
        node = self._plan.nodes[index]
        return await placement.settle(
            self._fleet.agents[index], self._plan.run, node.workdir, self._patience
        )

    async def _send(self, comparisons: dict[int, Comparison]) -> None:
        """Send what each node has not got. Raises SyncError that names each where that fails."""
        tasks = []
        for index, comparison in comparisons.items():
            if comparison.send:
                entries = [
                    entry for rows in comparison.send for entry in self._tree.entries[_slice(rows)]
                ]
                part = replace(self._tree, entries=tuple(entries))
                node = self._plan.nodes[index]
                tasks.append((self._fleet.agents[index].node, node.workdir, part))
        results = await push_all(tasks, on_progress=lambda p: self._emit(_advanced(p)))
        for result in results:
            if isinstance(result, Pushed) and result.warning is not None:
                self._emit(events.Warned(result.warning))
        failures = [result for result in results if isinstance(result, SyncError)]
        if failures:
            raise SyncError(grouped_message(failures))

    def _require_files_of_the_launch(self, there: Sequence[int]) -> None:
        """Raise SyncError where a later attempt would run other files than the first."""
        if self._files.digest is None:
            return
        for index in there:
            seen, name = self._seen[index], self._plan.nodes[index].name
            if seen.run not in ("", self._plan.run):
                raise SyncError(
                    f"the files of this run in {seen.workdir} have been replaced by those of run "
                    f"{printable(seen.run)}",
                    node=name,
                )
        if self._tree.digest != self._digest:
            names = first_few([self._plan.nodes[index].name for index in there])
            raise SyncError(
                f"{names} has not got the files of the launch, and {self._tree.root} has changed since then"
            )

    def _require_a_way(self, comparisons: dict[int, Comparison]) -> None:
        blocked = [
            f"{self._plan.nodes[index].name}: {printable(path)} cannot be brought: {printable(by)}, which "
            "orch did not place, is in its way"
            for index, comparison in comparisons.items()
            for path, by in comparison.blocked[:1]
        ]
        if blocked:
            raise SyncError(
                "\n".join(blocked),
                remedy="move it away on the node: orch deletes nothing of yours there",
            )

    def _require_no_other_run(
        self, comparisons: dict[int, Comparison], targets: dict[int, list[int]]
    ) -> None:
        """Raise SyncError where files would change under another run."""
        for index, comparison in comparisons.items():
            others = sorted({run for i in targets[index] for run in self._seen[i].others})
            if not others or comparison.is_done:
                continue
            node, seen = self._plan.nodes[index], self._seen[index]
            count = sum(len(rows) for rows in comparison.send) + comparison.delete
            names = ", ".join(printable(run) for run in others)
            first = next((self._tree.entries[rows.start].path for rows in comparison.send), "")
            example = f" ({printable(first)})" if first else ""
            raise SyncError(
                f"run {names} works in {seen.workdir} on {node.name}, and its code would change: "
                f"{counted(count, 'file')} differ{'s' if count == 1 else ''}{example}; "
                "nothing was copied",
                remedy=f"orch stop {printable(others[0])}, or wait for its end, or launch into another "
                f"folder: --workdir orch/{self._plan.run}",
            )


def _in_folders(plan: Plan, folders: Sequence[str]) -> Plan:
    nodes = zip(plan.nodes, folders, strict=True)
    return replace(plan, nodes=tuple(replace(node, workdir=folder) for node, folder in nodes))


def _tell(
    plan: Plan,
    seen: Sequence[Seen],
    comparisons: dict[int, Comparison],
    have: dict[int, frozenset[str]],
    emit: events.Emit,
) -> None:
    names = [node.name for node in plan.nodes]
    lines = [
        *messages.folder_lines({names[i]: each for i, each in enumerate(seen)}),
        *messages.kept_lines(
            {names[i]: comparison for i, comparison in sorted(comparisons.items())}
        ),
    ]
    for line in lines:
        emit(events.Warned(line))
    for uneven in _uneven({names[i]: files for i, files in sorted(have.items())}):
        emit(uneven)


def _uneven(have: Mapping[str, frozenset[str]]) -> Iterator[events.Uneven]:
    """Yield each file that some nodes have from an earlier run, and others have not."""
    for name in sorted(frozenset().union(*have.values())):
        there = tuple(node for node, names in have.items() if name in names)
        absent = tuple(node for node, names in have.items() if name not in names)
        if absent:
            yield events.Uneven(name, there, absent)


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)


def _advanced(progress: Progress) -> events.SyncAdvanced:
    return events.SyncAdvanced(progress.node, progress.sent, progress.total)


def _describe(files: int | None, changed: int, folders: int, nodes: int) -> str:
    parts = [] if files is None else [counted(files, "file")]
    if not changed:
        parts.append("unchanged")
    if folders < nodes:
        parts.append(f"{folders} of {nodes} folders (the others are shared)")
    return ", ".join(parts)
