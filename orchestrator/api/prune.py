"""The use case: forget runs that are over, on their nodes first and on this machine after."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError, OrchError
from orchestrator.remote.answers import count, parse_answer, text
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.codec import encode
from orchestrator.runs.connections import connections_to
from orchestrator.runs.folder import RUN, load_json, size_of
from orchestrator.runs.lock import Lock, find_controller
from orchestrator.runs.registry import all_runs, unreadable_runs
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.text import first_line, printable

_BROKEN_AFTER = 86400.0  # seconds for which a folder without a record is left: it may be being made
_TRIALS_AFTER = 86400.0
_LIMIT = 25.0  # seconds for one question to a node
_MESSAGE_DELAY = 1.0


@dataclass(frozen=True)
class Rule:
    """Which runs go: those that ended before `before` (seconds since the epoch), and beyond that the
    oldest until all that this machine keeps is at most `most` bytes. None: does not matter.
    """

    before: float | None = None
    most: int | None = None


@dataclass(frozen=True)
class Kept:
    """What is kept of a run on this machine: its folder, how large that is, since when it is over.

    `saved` is None where the folder holds no record of a run that can be read.
    """

    folder: Path
    bytes: int
    since: float
    saved: SavedRun | None = None


@dataclass
class Pruned:
    """What became of one run: whether it is `removed`, else what `problems` there were.

    `nodes` is how many bytes of it there are on its nodes, or were.
    """

    kept: Kept
    nodes: int = 0
    removed: bool = False
    problems: list[str] = field(default_factory=list)


def choose(rule: Rule, root: Path | None = None) -> list[Kept]:
    """Return what the rule means, the oldest first: never a run that is active, or has a controller.

    Nor what a symbolic link leads to: that is not in the place that orch keeps.
    """
    now = time.time()
    runs = [
        Kept(saved.folder, size_of(saved.folder), saved.ended or saved.began, saved)
        for saved in all_runs(root)
    ]
    total = sum(run.bytes for run in runs)
    going = []
    for run in sorted(runs, key=lambda run: run.since):
        if run.saved is None or not run.saved.has_ended or _has_controller(run.folder):
            continue
        if run.folder.is_symlink():
            continue
        is_old = rule.before is not None and run.since < rule.before
        if is_old or (rule.most is not None and total > rule.most):
            going.append(run)
            total -= run.bytes
    for folder in unreadable_runs(root):
        try:
            since = folder.lstat().st_mtime
            over = now - since > _BROKEN_AFTER and not _has_controller(folder)
        except OSError:  # somebody else removes it now, or it is not ours
            continue
        if over and not folder.is_symlink() and not _may_go_on(folder):
            going.append(Kept(folder, size_of(folder), since))
    return going


def _has_controller(folder: Path) -> bool:
    """Tell whether the run in `folder` has a controller, or that cannot be told."""
    try:
        return find_controller(folder) is not None
    except OrchError:
        return True


def _may_go_on(folder: Path) -> bool:
    """Tell whether its record, which says nothing to us, may be of a run that goes on: another version
    of orch has written it, or we may not read it.
    """
    try:
        said = load_json(folder / RUN)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True
    return isinstance(said, dict) and said.get("state") not in ("ended", "failed")


async def prune(
    going: Sequence[Kept], emit: events.Emit, *, here: bool = False, dry: bool = False
) -> list[Pruned]:
    """Remove them and return what became of each: one that some node still has stays here too.

    With `here` the nodes are left alone. A `dry` one removes nothing, and tells how much there is. `emit`
    hears the phase `prune` when it takes over a second.
    """
    results = {kept.folder: Pruned(kept) for kept in going}
    if not here:
        saying = asyncio.create_task(_say_later(going, emit))
        try:
            for runs in _alike(kept.saved for kept in going if kept.saved is not None):
                await _on_nodes(runs, {run.run: results[run.folder] for run in runs}, dry=dry)
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
    for result in results.values():
        if not dry and not result.problems:
            _remove(result)
    return list(results.values())


async def _say_later(going: Sequence[Kept], emit: events.Emit) -> None:
    await asyncio.sleep(_MESSAGE_DELAY)
    runs = [kept.saved for kept in going if kept.saved is not None]
    nodes = dict.fromkeys(node.name for run in runs for node in run.nodes)
    emit(events.PhaseBegan("prune", tuple(nodes)))


def _alike(runs: Iterable[SavedRun]) -> list[list[SavedRun]]:
    """Return the runs, those together that have the same nodes: these are connected to once."""
    groups: dict[object, list[SavedRun]] = {}
    for run in runs:
        hosts = tuple((node.name, node.host.model_dump_json()) for node in run.nodes)
        transport = json.dumps(encode(run.settings.transport), sort_keys=True)
        groups.setdefault((hosts, transport), []).append(run)
    return list(groups.values())


async def _on_nodes(runs: Sequence[SavedRun], results: dict[str, Pruned], *, dry: bool) -> None:
    """Have the nodes that all of `runs` have forget them; a `dry` one only asks how large they are."""
    try:
        async with connections_to(runs[-1]) as (connections, _):
            await asyncio.gather(
                *(_on_node(connection, results, dry=dry) for connection in connections)
            )
    except LaunchError as error:  # there is no such transport here any more
        for result in results.values():
            result.problems.append(error.message.splitlines()[0])


async def _on_node(connection: NodeConnection, results: dict[str, Pruned], *, dry: bool) -> None:
    try:
        await connection.connect()
    except NodeError as error:
        for result in results.values():
            result.problems.append(first_line(error.message))
        return
    for run, result in results.items():
        try:
            used = await (_usage(connection, run) if dry else _forget(connection, run))
            # Not `+= await`: other nodes add theirs while this one is waited for.
            result.nodes += used
        except NodeError as error:
            result.problems.append(first_line(error.message))
    if not dry:
        with suppress(NodeError):  # nobody asked for it: another time
            await connection.agent.ask(
                "forget", timeout=2 * _LIMIT, limit=_LIMIT, runs=[], node=connection.host.name,
                trials_older=_TRIALS_AFTER,
            )  # fmt: skip


async def _usage(connection: NodeConnection, run: str) -> int:
    """Return the bytes that the run takes up on the node."""
    name = connection.host.name
    answer = await connection.agent.ask(
        "usage", timeout=2 * _LIMIT, limit=_LIMIT, runs=[[run, name]]
    )
    return parse_answer(name, "usage", lambda answer: count(answer["bytes"][0] or 0), answer)


async def _forget(connection: NodeConnection, run: str) -> int:
    """Have the node forget the run; return the bytes that are free again there. Raises NodeError."""
    name = connection.host.name
    answer = await connection.agent.ask(
        "forget", timeout=2 * _LIMIT, limit=_LIMIT, runs=[[run, name]]
    )
    freed, is_alive, failed = parse_answer(name, "forget", _parse_forget, answer)
    if is_alive:
        raise NodeError(name, "processes of it are alive")
    for why in failed:
        raise NodeError(name, printable(why))
    return freed


def _parse_forget(answer: Any) -> tuple[int, bool, list[str]]:
    """Return the bytes that are free again, whether the run lives, and why it could not be removed."""
    failed = [text(why) for _, _, why in answer["failed"]]
    return count(answer["bytes"]), bool(answer["live"]), failed


def _remove(result: Pruned) -> None:
    """Remove the folder on this machine, its record first: half a run must not look like a whole one."""
    folder = result.kept.folder
    lock = Lock.take(folder, background=True)
    if lock is None:
        result.problems.append("somebody minds it now")
        return
    try:
        (folder / RUN).unlink(missing_ok=True)
        shutil.rmtree(folder)
        result.removed = True
    except OSError as error:
        result.problems.append(f"{error.filename}: {error.strerror}")
    finally:
        lock.release()
