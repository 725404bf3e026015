"""The use case: remove runs that have ended, from their nodes first, then from this machine."""

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
from orchestrator.api.slow_phase import slow_phase
from orchestrator.api.values import parse_size, value_of
from orchestrator.errors import LaunchError, NodeError, OrchError
from orchestrator.logs.timespec import parse_time
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.codec import encode
from orchestrator.runs.connections import connections_to
from orchestrator.runs.folder import RUN, load_json, size_of
from orchestrator.runs.lock import Lock, find_controller
from orchestrator.runs.registry import all_runs, unreadable_runs
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.answers import count, parse_answer, text
from orchestrator.util.text import first_line, printable

_BROKEN_AGE = 86400.0  # seconds for which a folder without a record is kept: it may be new
_TRIALS_AGE = 86400.0  # seconds for which folders of preflight trials are kept on nodes
_LIMITS = {"limit": 25.0, "timeout": 50.0}  # seconds for a node, and for its answer to arrive


@dataclass(frozen=True)
class Rule:
    """Which runs to remove: those that ended before `before` (seconds since the epoch), and the oldest
    until the remaining ones take at most `most` bytes on this machine. None: no such limit.
    """

    before: float | None = None
    most: int | None = None


@dataclass(frozen=True)
class Kept:
    """What this machine keeps of a run: its folder, its size, and when the run ended.

    `saved` is None if the folder has no readable record.
    """

    folder: Path
    bytes: int
    since: float
    saved: SavedRun | None = None


@dataclass
class Pruned:
    """The result for one run: whether it is `removed`, or which `problems` prevented that.

    `nodes` is how many bytes it takes, or took, on its nodes.
    """

    kept: Kept
    nodes: int = 0
    removed: bool = False
    problems: list[str] = field(default_factory=list)


def rule_of(older_than: str | None, larger_than: str | None) -> Rule:
    """Return the rule of these options; without any, 30 days. Raises UsageError."""
    if older_than is None and larger_than is None:
        older_than = "30d"
    return Rule(
        value_of("--older-than", older_than, lambda text: parse_time(text, time.time())),
        value_of("--larger-than", larger_than, parse_size),
    )


def choose(rule: Rule, root: Path | None = None) -> list[Kept]:
    """Return what the rule selects, the oldest first: no run that is active or has a controller.

    Symbolic links are left out: their targets are outside of orch's folder.
    """
    now = time.time()
    runs = [
        Kept(saved.folder, size_of(saved.folder), saved.ended or saved.began, saved)
        for saved in all_runs(root)
    ]
    total = sum(run.bytes for run in runs)
    chosen = []
    for run in sorted(runs, key=lambda run: run.since):
        has_ended = run.saved is not None and run.saved.has_ended
        if not has_ended or _has_controller(run.folder) or run.folder.is_symlink():
            continue
        is_old = rule.before is not None and run.since < rule.before
        if is_old or (rule.most is not None and total > rule.most):
            chosen.append(run)
            total -= run.bytes
    for folder in unreadable_runs(root):
        try:
            since = folder.lstat().st_mtime
            over = now - since > _BROKEN_AGE and not _has_controller(folder)
        except OSError:  # another process is removing it, or it belongs to another user
            continue
        if over and not folder.is_symlink() and not _may_be_active(folder):
            chosen.append(Kept(folder, size_of(folder), since))
    return chosen


def _has_controller(folder: Path) -> bool:
    """Tell whether the run in `folder` has a controller; True if that is unknown."""
    try:
        return find_controller(folder) is not None
    except OrchError:
        return True


def _may_be_active(folder: Path) -> bool:
    """Tell whether an unreadable record may be of an active run: another version of orch wrote it, or
    reading it is not permitted.
    """
    try:
        record = load_json(folder / RUN)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True
    return isinstance(record, dict) and record.get("state") not in ("ended", "failed")


async def prune(
    chosen: Sequence[Kept], emit: events.Emit, *, here: bool = False, dry: bool = False
) -> list[Pruned]:
    """Remove the runs and return a result for each; a run that a node still has also stays here.

    With `here` the nodes are not touched; `dry` removes nothing and returns sizes. `emit` gets the phase
    `prune` if this takes over a second.
    """
    results = {kept.folder: Pruned(kept) for kept in chosen}
    runs = [kept.saved for kept in chosen if kept.saved is not None]
    if not here:
        names = dict.fromkeys(node.name for run in runs for node in run.nodes)
        with slow_phase("prune", names, emit):
            for group in _by_nodes(runs):
                await _on_nodes(group, {run.run: results[run.folder] for run in group}, dry=dry)
    for result in results.values():
        if not dry and not result.problems:
            _remove(result)
    return list(results.values())


def _by_nodes(runs: Iterable[SavedRun]) -> list[list[SavedRun]]:
    """Group the runs by their nodes, so that each group needs only one set of connections."""
    groups: dict[object, list[SavedRun]] = {}
    for run in runs:
        hosts = tuple((node.name, node.host.model_dump_json()) for node in run.nodes)
        transport = json.dumps(encode(run.settings.transport), sort_keys=True)
        groups.setdefault((hosts, transport), []).append(run)
    return list(groups.values())


async def _on_nodes(runs: Sequence[SavedRun], results: dict[str, Pruned], *, dry: bool) -> None:
    """Remove `runs`, which all have these nodes, from the nodes; `dry`: only return their size."""
    try:
        async with connections_to(runs[-1]) as (connections, _):
            await asyncio.gather(*(_on_node(each, results, dry=dry) for each in connections))
    except LaunchError as error:  # the transport is no longer installed
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
            # Not `+= await`: other nodes add to it meanwhile.
            result.nodes += used
        except NodeError as error:
            result.problems.append(first_line(error.message))
    if not dry:
        with suppress(NodeError):  # the next prune does it
            await connection.agent.ask(
                "forget",
                **_LIMITS,
                runs=[],
                node=connection.host.name,
                trials_older=_TRIALS_AGE,
            )


async def _usage(connection: NodeConnection, run: str) -> int:
    """Return the bytes that the run takes on the node."""
    name = connection.host.name
    answer = await connection.agent.ask("usage", **_LIMITS, runs=[[run, name]])
    return parse_answer(name, "usage", lambda answer: count(answer["bytes"][0] or 0), answer)


async def _forget(connection: NodeConnection, run: str) -> int:
    """Remove the run from the node; return the bytes freed there. Raises NodeError."""
    name = connection.host.name
    answer = await connection.agent.ask("forget", **_LIMITS, runs=[[run, name]])
    freed, is_alive, failed = parse_answer(name, "forget", _parse_forget, answer)
    if is_alive:
        raise NodeError(name, "processes of the run are still alive")
    for why in failed:
        raise NodeError(name, printable(why))
    return freed


def _parse_forget(answer: Any) -> tuple[int, bool, list[str]]:
    """Return the bytes freed, whether the run is alive, and why it could not be removed."""
    failed = [text(why) for _, _, why in answer["failed"]]
    return count(answer["bytes"]), bool(answer["live"]), failed


def _remove(result: Pruned) -> None:
    """Remove the folder on this machine, its record first, so that a partial run never looks complete."""
    folder = result.kept.folder
    lock = Lock.take(folder, background=True)
    if lock is None:
        result.problems.append("another controller holds it")
        return
    try:
        (folder / RUN).unlink(missing_ok=True)
        shutil.rmtree(folder)
        result.removed = True
    except OSError as error:
        result.problems.append(f"{error.filename}: {error.strerror}")
    finally:
        lock.release()
