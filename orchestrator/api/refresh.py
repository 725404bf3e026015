"""Refresh this machine's copy of a run before it is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

from orchestrator import events
from orchestrator.api.slow_phase import slow_phase
from orchestrator.errors import LaunchError
from orchestrator.logs.index import IndexReader
from orchestrator.remote.transports import restore
from orchestrator.runs.background import ensure_controller, ensure_watched
from orchestrator.runs.event_log import EventReader, LoggedEvent
from orchestrator.runs.folder import EVENTS, size_of
from orchestrator.runs.lock import find_controller
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.runs.state import replay, state_of
from orchestrator.util.text import first_line

_POLL_INTERVAL = 0.05  # seconds
_CONTROLLER_TIMEOUT = 5.0  # seconds beyond the time to connect, for a background controller
_COPY_TIMEOUT = 15.0  # seconds for copies that keep growing
_QUIET_TIME = 0.3  # seconds without growth after which copies are complete


async def refresh(saved: SavedRun, emit: events.Emit) -> SavedRun:
    """Return the state of the run once its nodes have answered or are known to be unreachable.

    Starts a background controller for an active run that has none, and fetches the missing logs of a run
    that has ended. `emit` gets warnings, and the phase `fetch` if this takes over a second. All waits
    are bounded, and logs that do not arrive are no error.
    """
    names = saved.missing if saved.has_ended else tuple(node.name for node in saved.plan.nodes)
    with slow_phase("fetch", names, emit):
        try:
            if not saved.has_ended:
                await _hear_all(saved, emit)
            elif saved.missing and not _is_full(saved):
                await _fetch(saved)
        except LaunchError as error:
            emit(events.Warned(str(error)))
    return load_run(saved.folder) or saved


def shortcomings(saved: SavedRun) -> list[str]:
    """Return a sentence for each node whose newest output may be missing on this machine."""
    state = state_of(saved.folder)
    if saved.has_ended:
        if saved.missing and _is_full(saved):
            places = {node.name: node.host.state_folder for node in saved.plan.nodes}
            return [
                f"{name}: the rest of its output is only there, in {places[name]}/runs/{saved.run}: "
                "the run's logs have reached their limit on this machine (--log-limit)"
                for name in saved.missing
            ]
        causes = {name: state.nodes[name].cause for name in saved.missing if name in state.nodes}
        return [
            f"{name}: its last lines are missing here{_because(causes.get(name, ''))}"
            for name in saved.missing
        ]
    missing = []
    for name in (node.name for node in saved.plan.nodes):
        node = state.nodes.get(name)
        if node is None:
            missing.append(f"{name} has not answered yet: its newest lines may be missing")
        elif node.unreachable_since is not None:
            since = _clock(node.unreachable_since)
            missing.append(
                f"{name} cannot be reached since {since}: its newest lines may be missing"
            )
    return missing


def _is_full(saved: SavedRun) -> bool:
    """Tell whether the run's logs have reached their limit on this machine."""
    limit = saved.settings.log_limit
    return limit is not None and size_of(saved.logs) >= limit


def _because(cause: str) -> str:
    return f" ({first_line(cause)})" if cause else ""


def _clock(t: float) -> str:
    """Return `14:05`, with the date if it is not today."""
    moment, now = time.localtime(t), time.localtime()
    is_today = moment[:3] == now[:3]
    return time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", moment)


async def _hear_all(saved: SavedRun, emit: events.Emit) -> None:
    """Wait until the controller has the state of every node and all output so far."""
    asked = time.time()
    log = EventReader(saved.folder / EVENTS)
    past = list(log.read())
    left = {node.name for node in replay(past).nodes.values() if node.state == "left"}
    heard = _heard(past, set())
    if (taken_up := await ensure_watched(saved.folder)) is not None:
        emit(taken_up)
        heard.clear()
    nodes = {node.name for node in saved.plan.nodes} - left
    deadline = time.monotonic() + restore(saved.settings.transport).timeout + _CONTROLLER_TIMEOUT
    while not nodes <= heard and time.monotonic() < deadline and not _has_ended(saved):
        await asyncio.sleep(_POLL_INTERVAL)
        heard = _heard(log.read(), heard)
    if taken_up is not None:
        await _wait_for_copies(saved, asked)


def _heard(log: Iterable[LoggedEvent], known: set[str]) -> set[str]:
    """Return the nodes that the current controller follows or cannot reach."""
    for logged in log:
        match logged.event:
            case events.Started():  # of a new controller
                known = set()
            case events.Following() | events.NodeLost() | events.NodeEnded():
                known = known | {logged.event.node}
    return known


async def _until_quiet(saved: SavedRun, quiet: float) -> AsyncIterator[None]:
    """Yield repeatedly until the run's logs have not grown for `quiet` seconds."""
    size, grew = -1, time.monotonic()
    while time.monotonic() < grew + quiet:
        yield
        now = size_of(saved.logs)
        if now != size:
            size, grew = now, time.monotonic()
        await asyncio.sleep(_POLL_INTERVAL)


async def _wait_for_copies(saved: SavedRun, asked: float) -> None:
    """Wait until every copy has what was written by `asked` (the epoch), or none grows any more."""
    deadline = time.monotonic() + _COPY_TIMEOUT
    async for _ in _until_quiet(saved, _QUIET_TIME):
        newest = [_newest(saved, node.name) for node in saved.plan.nodes]
        if all(t >= asked for t in newest) or time.monotonic() > deadline:
            return


async def _fetch(saved: SavedRun) -> None:
    """Wait for a controller to fetch the missing logs while that makes progress."""
    await ensure_controller(saved.folder)
    timeout = restore(saved.settings.transport).timeout + _CONTROLLER_TIMEOUT
    async for _ in _until_quiet(saved, timeout):
        if find_controller(saved.folder) is None:
            return


def _has_ended(saved: SavedRun) -> bool:
    now = load_run(saved.folder)
    return now is None or now.has_ended


def _newest(saved: SavedRun, node: str) -> float:
    """Return when the node's newest byte here was written (by this machine's clock)."""
    newest = next(IndexReader(saved.logs, node).newest_first(), None)
    if newest is None:
        return 0.0
    return newest[1].t - saved.settings.skews.get(node, 0.0)
