"""Copy a project's files to every node, once to each folder that several nodes share.

If nothing has changed, each node gets one request. Otherwise one node of each group that shares a folder
compares, receives and records the files (`sync/placement.py`). Which do is known from the file systems, or
found out by files that each writes there (`sync/sharing.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import events
from orchestrator.errors import SyncError
from orchestrator.pipeline.phase import Phase
from orchestrator.plan import Plan
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.sync import Entry, Progress, Pushed, Tree, collect, messages, placement, push_all
from orchestrator.sync.copied import read_copy
from orchestrator.sync.placement import Comparison, Seen
from orchestrator.sync.sharing import sharing
from orchestrator.sync.small import packed_files
from orchestrator.util.text import counted, first_few, printable

_POLL_INTERVAL = 0.5  # seconds between requests while another run places its files


@dataclass(frozen=True)
class Files:
    """The files of a project and where they belong on the nodes.

    `owner` identifies the project, `source` names it for the user; the files are in the local `folder`
    (None: they are on the nodes already). Nodes in `own` have them in a folder of the project, others in
    the folder of the plan. With `overwrite`, they replace files that have changed on a node. `names` are
    files that the script opens. `digest` is that of the tree that was launched (None: this is the launch);
    `copy` may have a copy of that tree.
    """

    owner: str
    source: str
    folder: Path | None
    own: frozenset[str]
    overwrite: bool = False
    names: tuple[str, ...] = ()
    digest: str | None = None
    copy: Path | None = None


async def find_workdirs(fleet: Fleet, plan: Plan, files: Files) -> Plan:
    """Return the plan with the folders that the project has on the nodes, or would have."""

    async def find(index: int) -> str:
        node = plan.nodes[index]
        if node.name not in files.own:
            return node.workdir
        return await placement.find(fleet.agents[index], node.workdir, files.owner, files.source)

    return _with_workdirs(plan, await fleet.each(range(len(plan.nodes)), find))


async def upload(
    fleet: Fleet, plan: Plan, files: Files, tree: Tree | None, emit: events.Emit
) -> tuple[Plan, Tree | None]:
    """Copy the files to every node; return the plan with their folders, and the tree of the files.

    `tree` is that of the local folder (None: not read yet); the result is None if it was not needed.
    Raises SyncError for the nodes where that fails, or where another run uses files that would change.
    """
    job = _Upload(fleet, plan, files, emit)
    if files.folder is None:
        await job.enter(None, None)
        return job.plan, None
    with Phase("sync", (node.name for node in plan.nodes), emit) as phase:
        if tree is None and files.digest is None:
            tree = await asyncio.to_thread(collect, files.folder)
        digest = files.digest or (tree.digest if tree else "")
        await job.enter(digest, tree)
        if not all(each.is_done for each in job.seen):
            if tree is None:
                tree = await asyncio.to_thread(_launched_tree, files.folder, digest, files.copy)
            await job.push(tree, digest)
        job.report()
        phase.detail = job.describe(tree)
    return job.plan, tree


def _launched_tree(folder: Path, digest: str, copy: Path | None) -> Tree:
    """Return the tree with this digest from the copy, or the current one if there is no such copy."""
    copied = None if copy is None else read_copy(copy, digest)
    return copied or collect(folder)


class _Upload:
    """The upload of one project. Nodes are known by their position in the plan."""

    def __init__(self, fleet: Fleet, plan: Plan, files: Files, emit: events.Emit) -> None:
        self._fleet, self._agents = fleet, fleet.agents
        self.plan, self._files, self._emit = plan, files, emit
        self._names = [node.name for node in plan.nodes]
        self._timeout = placement.time_limit(None)
        self._pushed = 0
        self.seen: list[Seen] = []
        """The state of the folder on each node before the push."""
        self._compared: dict[int, Comparison] = {}
        self._have: dict[int, frozenset[str]] = {}
        """The files that were not placed, for one node of each folder."""

    async def enter(self, digest: str | None, tree: Tree | None) -> None:
        """Enter the folders on all nodes, once no other run places files on any of them."""
        self._timeout = placement.time_limit(tree)
        files, waits_for = self._files, ""

        async def enter(index: int) -> Seen | str:
            node = self.plan.nodes[index]
            arguments = {
                "run": self.plan.run,
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
                self._agents[index], node.workdir, arguments, self._timeout
            )

        while True:
            answers: list[Seen | str] = await self._fleet.each(range(len(self._names)), enter)
            busy = [answer for answer in answers if isinstance(answer, str)]
            if not busy:
                break
            # Release them: two runs that each hold some of the nodes would deadlock.
            await self._fleet.each(
                self._agents, lambda agent: placement.leave(agent, self.plan.run)
            )
            if busy[0] != waits_for:
                waits_for = busy[0]
                run = printable(waits_for)
                self._emit(events.Warned(f"waiting for run {run}, which is placing its files"))
            await asyncio.sleep(_POLL_INTERVAL * random.uniform(0.5, 1.5))
        self.seen = [answer for answer in answers if isinstance(answer, Seen)]
        self.plan = _with_workdirs(self.plan, [each.workdir for each in self.seen])
        done = [i for i, each in enumerate(self.seen) if each.is_done]
        self._compared = {i: self.seen[i].comparison for i in done}
        self._have = {i: self.seen[i].have for i in done}

    async def push(self, tree: Tree, digest: str) -> None:
        """Send the tree to the folders that do not have it."""
        self._timeout = placement.time_limit(tree)
        run, folders = self.plan.run, [node.workdir for node in self.plan.nodes]
        async with self._groups(folders) as groups:
            targets = {self._target(group): group for group in groups}
            self._have = {i: self.seen[i].have for i in targets}
            stale = [i for i in targets if not self.seen[i].is_done]
            idle = [i for i, each in enumerate(self.seen) if not each.is_done and i not in stale]
            self._require_launched_files(stale, tree, digest)
            listing = placement.packed(tree)
            found: list[Comparison] = await self._fleet.each(
                stale, lambda i: placement.compare(self._agents[i], run, listing, self._timeout)
            )
            comparisons = dict(zip(stale, found, strict=True))
            self._require_nothing_blocked(comparisons)
            self._require_no_other_run(comparisons, targets, tree)
            texts = self._packed(comparisons, tree)
            await self._place(texts)
            await self._transfer([i for i in stale if i not in texts], comparisons, tree)
            # With a shared home folder, they hold the lock of the run that another node used.
            await self._fleet.each(idle, lambda i: placement.leave(self._agents[i], run, stay=True))
        self._compared.update(comparisons)
        self._pushed = len(comparisons)

    @asynccontextmanager
    async def _groups(self, folders: Sequence[str]) -> AsyncIterator[list[list[int]]]:
        """Yield the nodes in groups that share a folder; they are asked only if that is possible."""
        found = {each.identity for each in self.seen}
        if "" not in found and len(found) == len(self.seen):
            yield [[index] for index in range(len(self.seen))]
            return
        async with sharing(self._fleet, folders, self.plan.run) as groups:
            yield groups

    def _target(self, group: Sequence[int]) -> int:
        """Return the node of a group that places files: one that knows the folder's content."""
        return max(group, key=lambda i: (self.seen[i].is_done, self.seen[i].time, -i))

    def _packed(self, comparisons: dict[int, Comparison], tree: Tree) -> dict[int, str]:
        """Return the files for each node to which a few small ones are to be sent."""
        texts: dict[tuple[range, ...], str | None] = {}  # nodes mostly lack the same
        for comparison in comparisons.values():
            if comparison.send not in texts:
                texts[comparison.send] = packed_files(tree, _entries(comparison, tree))
        found = {index: texts[comparison.send] for index, comparison in comparisons.items()}
        return {index: text for index, text in found.items() if text is not None}

    async def _place(self, texts: dict[int, str]) -> None:
        """Have nodes write the files that are given as text. Raises SyncError."""
        run, folders = self.plan.run, [node.workdir for node in self.plan.nodes]

        async def place(index: int) -> frozenset[str]:
            return await placement.place(
                self._agents[index], run, folders[index], texts[index], self._timeout
            )

        self._have.update(zip(texts, await self._fleet.each(list(texts), place), strict=True))

    async def _transfer(
        self, stale: Sequence[int], comparisons: dict[int, Comparison], tree: Tree
    ) -> None:
        """Send the nodes `stale` their files with rsync. Raises SyncError."""
        run, folders = self.plan.run, [node.workdir for node in self.plan.nodes]
        await self._fleet.each(
            stale, lambda i: placement.begin(self._agents[i], run, folders[i], self._timeout)
        )
        await self._send({i: comparisons[i] for i in stale}, tree)
        settled: list[frozenset[str]] = await self._fleet.each(
            stale, lambda i: placement.settle(self._agents[i], run, folders[i], self._timeout)
        )
        self._have.update(zip(stale, settled, strict=True))

    async def _send(self, comparisons: dict[int, Comparison], tree: Tree) -> None:
        """Send the files that each node lacks. Raises SyncError for the nodes where that fails."""
        tasks = []
        for index, comparison in comparisons.items():
            if comparison.send:
                entries = _entries(comparison, tree)
                node = self._agents[index].node
                workdir = self.plan.nodes[index].workdir
                tasks.append((node, workdir, replace(tree, entries=entries)))
        results = await push_all(tasks, on_progress=self._on_progress)
        for result in results:
            if isinstance(result, Pushed) and result.warning is not None:
                self._emit(events.Warned(result.warning))
        failures = [result for result in results if isinstance(result, SyncError)]
        if failures:
            raise SyncError(grouped_message(failures))

    def _on_progress(self, progress: Progress) -> None:
        self._emit(events.SyncAdvanced(progress.node, progress.sent, progress.total))

    def _require_launched_files(self, stale: Sequence[int], tree: Tree, digest: str) -> None:
        """Raise SyncError if a restart would run other files than the launch."""
        if self._files.digest is None:
            return
        for index in stale:
            seen = self.seen[index]
            if seen.run not in ("", self.plan.run):
                raise SyncError(
                    f"the files of this run in {seen.workdir} were replaced by those of run "
                    f"{printable(seen.run)}",
                    node=self._names[index],
                )
        if tree.digest != digest:
            names = first_few([self._names[index] for index in stale])
            raise SyncError(
                f"{names}: the files of the launch are missing, and {tree.root} has changed since then"
            )

    def _require_nothing_blocked(self, comparisons: dict[int, Comparison]) -> None:
        """Raise SyncError if something that orch did not place blocks a file."""
        blocked = [
            f"{self._names[index]}: {printable(path)} cannot be placed: {printable(by)} is in the way, "
            "which orch did not place"
            for index, comparison in comparisons.items()
            for path, by in comparison.blocked[:1]
        ]
        if blocked:
            raise SyncError(
                "\n".join(blocked),
                remedy="move it away on the node: orch deletes no files of yours there",
            )

    def _require_no_other_run(
        self, comparisons: dict[int, Comparison], targets: dict[int, list[int]], tree: Tree
    ) -> None:
        """Raise SyncError if the push would change files that another run uses."""
        for index, comparison in comparisons.items():
            others = sorted({run for i in targets[index] for run in self.seen[i].others})
            if not others or comparison.is_done:
                continue
            count = sum(map(len, comparison.send)) + comparison.delete
            first = next((tree.entries[rows.start].path for rows in comparison.send), "")
            example = f" ({printable(first)})" if first else ""
            raise SyncError(
                f"run {', '.join(map(printable, others))} uses {self.seen[index].workdir} on "
                f"{self._names[index]}, and its code would change: "
                f"{counted(count, 'file')} differ{'s' if count == 1 else ''}{example}; "
                "nothing was copied",
                remedy=f"orch stop {printable(others[0])}, or wait for its end, or launch into another "
                f"folder: --workdir orch/{self.plan.run}",
            )

    def report(self) -> None:
        """Emit what the user should know about the folders."""
        compared = {self._names[i]: each for i, each in sorted(self._compared.items())}
        for line in messages.folder_lines(dict(zip(self._names, self.seen, strict=True))):
            self._emit(events.Warned(line))
        for line in messages.kept_lines(compared):
            self._emit(events.Warned(line))
        for uneven in _uneven({self._names[i]: files for i, files in sorted(self._have.items())}):
            self._emit(uneven)

    def describe(self, tree: Tree | None) -> str:
        """Return what was done, in a few words."""
        parts = [] if tree is None else [counted(len(tree.files), "file")]
        if not self._pushed:
            parts.append("unchanged")
        folders, nodes = len(self._have), len(self._names)
        if folders < nodes:
            parts.append(f"{folders} of {nodes} folders (the others are shared)")
        return ", ".join(parts)


def _entries(comparison: Comparison, tree: Tree) -> tuple[Entry, ...]:
    """Return the entries of the tree that are to be sent."""
    rows = (slice(rows.start, rows.stop) for rows in comparison.send)
    return tuple(entry for row in rows for entry in tree.entries[row])


def _uneven(have: Mapping[str, frozenset[str]]) -> Iterator[events.Uneven]:
    """Yield each file of an earlier run that some nodes have and others do not."""
    for name in sorted(frozenset().union(*have.values())):
        there = tuple(node for node, names in have.items() if name in names)
        absent = tuple(node for node, names in have.items() if name not in names)
        if absent:
            yield events.Uneven(name, there, absent)


def _with_workdirs(plan: Plan, workdirs: Sequence[str]) -> Plan:
    nodes = zip(plan.nodes, workdirs, strict=True)
    return replace(plan, nodes=tuple(replace(node, workdir=workdir) for node, workdir in nodes))
