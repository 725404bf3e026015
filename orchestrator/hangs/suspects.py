"""Who keeps a run that does not get on, from one look at all of its nodes: pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.hangs.locations import (
    Location,
    group_ranks,
    is_in_own_code,
    location_of,
    rank_label,
)
from orchestrator.hangs.snapshot import Frame, Process, Snapshot, StuckConnection
from orchestrator.plan import Plan

_MOST = 8  # connections that are told of
_CROWD = 3  # so many ranks at one place make one elsewhere stand out


def nodes_by_address(plan: Plan) -> dict[str, str]:
    """Return the nodes' names by the addresses at which their ranks meet, or that SSH goes to."""
    names = {node.host.address: node.name for node in plan.nodes}
    names.update({node.address: node.name for node in plan.nodes if node.address})
    return names


def location_text(process: Process) -> str:
    """Return where a process is, or why that is not known."""
    place = location_of(process.stack)
    if place is not None:
        return str(place)
    if process.by:
        return "in no Python call"
    return f"no stack: {process.why}" if process.why else "no stack"


def stack_lines(looks: Sequence[Snapshot]) -> tuple[str, ...]:
    """Return where all ranks are, those at one place together; launchers only where there is no rank."""
    own = [process for look in looks for process in look.own]
    places = [(process.rank, location_text(process)) for process in own if process.rank is not None]
    if places:
        return group_ranks(places)
    return tuple(
        f"launcher of {look.node} {location_text(process)}"
        for look in looks
        for process in look.own
    )


def connection_lines(looks: Sequence[Snapshot], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the connections that are stuck, a sentence each; `names` are the nodes' by address."""
    found: dict[str, None] = {}
    for look in looks:
        who = {process.pid: process.rank for process in look.processes}
        for stuck in look.stuck:
            found[_connection(look.node, who.get(stuck.pid), stuck, names)] = None
    told = list(found)
    if len(told) > _MOST:
        told[_MOST:] = [f"and {len(told) - _MOST} more"]
    return tuple(told)


def find_suspect(
    looks: Sequence[Snapshot], names: Mapping[str, str], ended: Mapping[int, str]
) -> str:
    """Return who is to blame in all likelihood, and why, in one line; empty where nobody stands out.

    `ended` says how ranks ended that are not there any more.
    """
    pair, outside = _worst_pair(looks, names), _worst_pair(looks, names, outside=True)
    if pair:
        return pair
    ranks_there = {
        process.rank: process for look in looks for process in look.own if process.rank is not None
    }
    places = {rank: location_of(process.stack) for rank, process in ranks_there.items()}
    if locked := [rank for rank, place in places.items() if place is not None and place.is_locked]:
        return _locked(locked, places)
    waiting = {
        rank: place
        for rank, place in places.items()
        if place is not None and (place.is_wait or place.may_be_wait)
    }
    others = [
        (process.rank, location_text(process) + _work_below(look, process))
        for look in looks
        for process in look.own
        if process.rank is not None and process.rank not in waiting
    ]
    if ended and (waiting or not places):
        gone = ", ".join(
            f"{rank_label([rank])} {how}" for rank, how in sorted(ended.items())[:_MOST]
        )
        return f"{gone}: the others wait for what has ended"
    if waiting and others:
        calls = ", ".join(sorted({place.call for place in waiting.values()}))
        wait = f"{rank_label(waiting)} wait{'s' if len(waiting) == 1 else ''} in {calls}"
        return f"{' · '.join(group_ranks(others))}: {wait}"
    return _odd_one(waiting) or outside or ("" if waiting else _lone_one(others))


def _work_below(look: Snapshot, own: Process) -> str:
    """Return where what a rank has started is in the user's own code: data loaders, say."""
    stacks = [_since_its_start(p.stack) for p in look.of_rank(own.rank) if not p.is_own]
    found = sorted({str(location_of(stack)) for stack in stacks if is_in_own_code(stack)})
    return f", below it {', '.join(found[:_MOST])}" if found else ""


def _since_its_start(stack: Sequence[Frame]) -> Sequence[Frame]:
    """Leave out the frames of the process that a worker of multiprocessing was forked from."""
    starts = [i for i, frame in enumerate(stack) if frame.function == "_bootstrap"]
    return stack[: starts[0]] if starts else stack


def _odd_one(waiting: Mapping[int, Location]) -> str:
    """Return which ranks are in another collective than most: they wait for what the others never do."""
    calls = Counter(str(place) for place in waiting.values())
    if len(calls) < 2:
        return ""
    (usual, most), (_, second) = calls.most_common(2)
    # All ranks run the backward pass; the call of its own that another rank is in is the odd one.
    backward = {str(place) for place in waiting.values() if not place.is_wait}
    if most == second and len(calls) == 2 and len(backward) == 1:
        (usual,) = backward
    elif most == second:
        return "the ranks wait in different calls: " + " · ".join(
            group_ranks((rank, str(place)) for rank, place in waiting.items())
        )
    odd = [(rank, str(place)) for rank, place in waiting.items() if str(place) != usual]
    return f"{' · '.join(group_ranks(odd))}: the others wait in {usual}"


def _locked(locked: Sequence[int], places: Mapping[int, Location | None]) -> str:
    """Return who waits for the lock of a compiled extension, which stays when its builder is killed."""
    where = group_ranks((rank, str(places[rank])) for rank in locked)
    return (
        f"{' · '.join(where)}: waiting for the lock of an extension that another process compiles, or left "
        "behind when it was killed; `orch preflight --only sw.lock` names it"
    )


def _lone_one(places: Sequence[tuple[int, str]]) -> str:
    """Return the one rank that is elsewhere than all others, who wait in a call that is no collective's.

    A CUDA rank waits so: the collective only begins in its own call, and `.item()` ends it.
    """
    groups: dict[str, list[int]] = {}
    for rank, place in places:
        groups.setdefault(place, []).append(rank)
    if len(groups) != 2 or len(places) < _CROWD + 1:
        return ""
    (lone, one), (usual, _) = sorted(groups.items(), key=lambda group: len(group[1]))
    return f"{rank_label(one)} {lone}: the others are in {usual}" if len(one) == 1 else ""


def _worst_pair(
    looks: Sequence[Snapshot], names: Mapping[str, str], *, outside: bool = False
) -> str:
    """Return the two nodes between which something does not get through.

    What goes `outside`, to a public address that is no node's, keeps nobody waiting as a rule: a rank
    that reports to a server, say.
    """
    stuck = [
        (look.node, each)
        for look in looks
        for each in look.stuck
        if _is_telling(each) and _is_outside(each, names) is outside
    ]
    if not stuck:
        return ""
    # Where both ends send in vain: what goes to the end that listened, whose port a firewall has rules for.
    node, worst = max(
        stuck,
        key=lambda item: (
            item[1].is_new, item[1].remote[1] < item[1].local[1], item[1].retransmits
        ),
    )  # fmt: skip
    address, port = worst.remote
    peer = names.get(address, address)
    if worst.is_new:
        return f"{node} → {peer}: port {port} of {address} does not answer (a firewall that drops?)"
    own = worst.local[1]
    return (
        f"{node} → {peer}: what goes from port {own} to port {port} of {address} is not acknowledged "
        "(a firewall that drops, a dead link or host?)"
    )


def _is_outside(stuck: StuckConnection, names: Mapping[str, str]) -> bool:
    address = stuck.remote[0]
    return address not in names and ipaddress.ip_address(address).is_global


def _is_telling(stuck: StuckConnection) -> bool:
    """Tell whether it is more than a packet that got lost."""
    return stuck.retransmits >= (1 if stuck.is_new else 2)


def _connection(
    node: str, rank: int | None, stuck: StuckConnection, names: Mapping[str, str]
) -> str:
    who = f"r{rank} {node}" if rank is not None else node
    address, port = stuck.remote
    peer = names.get(address)
    where = f"{peer} ({address}:{port})" if peer else f"{address}:{port}"
    times = f"{stuck.retransmits} times"
    if stuck.is_new:
        return f"{who}: connecting to {where}, no answer; asked again {times} (SYN_SENT)"
    return f"{who}: {stuck.unacked} bytes to {where} are not acknowledged; sent again {times}"
