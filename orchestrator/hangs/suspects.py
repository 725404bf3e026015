"""Find what holds up a stalled run, from snapshots of all of its nodes. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.hangs.locations import (
    Location,
    by_location,
    group_ranks,
    has_own_code,
    location_of,
    rank_label,
)
from orchestrator.hangs.snapshot import Frame, Process, Snapshot, StuckConnection
from orchestrator.plan import Plan

_MAX_SHOWN = 8  # connections, ended ranks, processes below a rank
_MIN_CROWD = 3  # ranks at one location that make a single other one stand out


def nodes_by_address(plan: Plan) -> dict[str, str]:
    """Return the nodes' names by the addresses that their ranks or SSH use."""
    names = {node.host.address: node.name for node in plan.nodes}
    names.update({node.address: node.name for node in plan.nodes if node.address})
    return names


def location_text(process: Process) -> str:
    """Return where a process is, or why that is unknown."""
    location = location_of(process.stack)
    if location is not None:
        return str(location)
    if process.by:
        return "in no Python call"
    return f"no stack: {process.why}" if process.why else "no stack"


def stack_lines(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """Return where all ranks are, grouped by location; launchers only if there is no rank."""
    own = [(snapshot.node, process) for snapshot in snapshots for process in snapshot.own]
    ranks = [
        (process.rank, location_text(process)) for _, process in own if process.rank is not None
    ]
    if ranks:
        return group_ranks(ranks)
    return tuple(f"launcher of {node} {location_text(process)}" for node, process in own)


def connection_lines(snapshots: Sequence[Snapshot], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return one line for each stuck connection; `names` has the nodes' names by address."""
    found: dict[str, None] = {}
    for snapshot in snapshots:
        ranks = {process.pid: process.rank for process in snapshot.processes}
        for stuck in snapshot.stuck:
            found[_connection_line(snapshot.node, ranks.get(stuck.pid), stuck, names)] = None
    lines = list(found)
    if len(lines) > _MAX_SHOWN:
        lines[_MAX_SHOWN:] = [f"and {len(lines) - _MAX_SHOWN} more"]
    return tuple(lines)


def find_suspect(
    snapshots: Sequence[Snapshot], names: Mapping[str, str], ended: Mapping[int, str]
) -> str:
    """Return what most likely holds up the run, and why, on one line; empty if nothing stands out.

    `ended` says how the ranks ended that no longer run.
    """
    if pair := _worst_pair(snapshots, names):
        return pair
    ranks = {
        process.rank: (snapshot, process)
        for snapshot in snapshots
        for process in snapshot.own
        if process.rank is not None
    }
    locations = {
        rank: location
        for rank, (_, process) in ranks.items()
        if (location := location_of(process.stack)) is not None
    }
    if locked := {rank: location for rank, location in locations.items() if location.is_locked}:
        return (
            f"{_grouped(locked)}: waiting for the lock of an extension that another process compiles, or "
            "that was left behind when it was killed; `orch preflight --only sw.lock` names it"
        )
    waiting = {
        rank: location
        for rank, location in locations.items()
        if location.is_wait or location.may_be_wait
    }
    others = [
        (rank, location_text(process) + _work_below(snapshot, process))
        for rank, (snapshot, process) in ranks.items()
        if rank not in waiting
    ]
    if ended and (waiting or not ranks):
        gone = sorted(ended.items())[:_MAX_SHOWN]
        what = ", ".join(f"{rank_label([rank])} {how}" for rank, how in gone)
        return f"{what}: the others wait for {'it' if len(gone) == 1 else 'them'}"
    if waiting and others:
        calls = ", ".join(sorted({location.call for location in waiting.values()}))
        wait = f"{rank_label(waiting)} wait{'s' if len(waiting) == 1 else ''} in {calls}"
        return f"{' · '.join(group_ranks(others))}: {wait}"
    return (
        _odd_one(waiting)
        or _worst_pair(snapshots, names, outside=True)
        or ("" if waiting else _lone_one(others))
    )


def _grouped(locations: Mapping[int, Location]) -> str:
    return " · ".join(group_ranks((rank, str(location)) for rank, location in locations.items()))


def _work_below(snapshot: Snapshot, own: Process) -> str:
    """Return where the processes that a rank has started, such as data loaders, are in the user's code."""
    stacks = [_since_its_start(p.stack) for p in snapshot.of_rank(own.rank) if not p.is_own]
    found = sorted({str(location_of(stack)) for stack in stacks if has_own_code(stack)})
    return f", below it {', '.join(found[:_MAX_SHOWN])}" if found else ""


def _since_its_start(stack: Sequence[Frame]) -> Sequence[Frame]:
    """Return a stack without the frames of the process from which a multiprocessing worker was forked."""
    starts = [i for i, frame in enumerate(stack) if frame.function == "_bootstrap"]
    return stack[: starts[0]] if starts else stack


def _odd_one(waiting: Mapping[int, Location]) -> str:
    """Return the ranks in another collective than most: the others never make that call."""
    calls = Counter(str(location) for location in waiting.values())
    if len(calls) < 2:
        return ""
    (usual, most), (_, second) = calls.most_common(2)
    # All ranks run the backward pass, so the odd one is a rank in another call.
    backward = {str(location) for location in waiting.values() if not location.is_wait}
    if most == second and len(calls) == 2 and len(backward) == 1:
        (usual,) = backward
    elif most == second:
        return f"the ranks wait in different calls: {_grouped(waiting)}"
    odd = {rank: location for rank, location in waiting.items() if str(location) != usual}
    return f"{_grouped(odd)}: the others wait in {usual}"


def _lone_one(locations: Sequence[tuple[int, str]]) -> str:
    """Return the only rank that is not where all others are, in a call that is no collective.

    CUDA ranks wait like this: the collective is only queued by its own call, and `.item()` waits for it.
    """
    groups = by_location(locations)
    if len(groups) != 2 or len(locations) < _MIN_CROWD + 1:
        return ""
    (lone, one), (usual, _) = sorted(groups.items(), key=lambda group: len(group[1]))
    return f"{rank_label(one)} {lone}: the others are in {usual}" if len(one) == 1 else ""


def _worst_pair(
    snapshots: Sequence[Snapshot], names: Mapping[str, str], *, outside: bool = False
) -> str:
    """Return the two nodes between which packets are lost; empty if there are none.

    A connection `outside`, to a public address of no node, usually holds up nothing: for example a rank
    that reports to a server.
    """
    stuck = [
        (snapshot.node, each)
        for snapshot in snapshots
        for each in snapshot.stuck
        # More than a single lost packet.
        if each.retransmits >= (1 if each.is_new else 2) and _is_outside(each, names) is outside
    ]
    if not stuck:
        return ""
    # If both ends send in vain, name the port that was listened on: firewalls have rules for it.
    node, worst = max(
        stuck,
        key=lambda item: (
            item[1].is_new, item[1].remote[1] < item[1].local[1], item[1].retransmits
        ),
    )  # fmt: skip
    address, port = worst.remote
    peer = f"{node} → {names.get(address, address)}"
    if worst.is_new:
        return f"{peer}: port {port} of {address} does not answer (does a firewall drop packets?)"
    return (
        f"{peer}: packets from port {worst.local[1]} to port {port} of {address} are not acknowledged "
        "(does a firewall drop them, or is a link or the host down?)"
    )


def _is_outside(stuck: StuckConnection, names: Mapping[str, str]) -> bool:
    address = stuck.remote[0]
    return address not in names and ipaddress.ip_address(address).is_global


def _connection_line(
    node: str, rank: int | None, stuck: StuckConnection, names: Mapping[str, str]
) -> str:
    who = f"r{rank} {node}" if rank is not None else node
    address, port = stuck.remote
    where = f"{names[address]} ({address}:{port})" if address in names else f"{address}:{port}"
    times = f"{stuck.retransmits} times"
    if stuck.is_new:
        return f"{who}: connecting to {where}, no answer; retried {times} (SYN_SENT)"
    return f"{who}: {stuck.unacked} bytes to {where} are not acknowledged; sent again {times}"
