"""From logs and evidence to a diagnosis: which failures, on which ranks, causes before their effects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from signal import SIGTERM

from orchestrator.diagnose.encoding import as_utf8
from orchestrator.diagnose.exits import explain_exits
from orchestrator.diagnose.findings import Findings, Group
from orchestrator.diagnose.launcher_exits import signal_of
from orchestrator.diagnose.model import Diagnosis, Evidence, Exit, Hit, Match, Place, Source
from orchestrator.diagnose.scan import Scan
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.signatures.python import LAST_LINE
from orchestrator.diagnose.traceback import read_error_file
from orchestrator.util.numbers import folded

_MAX_LEADS = 8  # of all sources
_AFTER_CASCADES = Kind.CASCADE + 0.5


def diagnose(
    streams: Iterable[tuple[Source, Iterable[bytes]]],
    evidence: Evidence | None = None,
    extra: tuple[Signature, ...] = (),
) -> Diagnosis:
    """Read every stream once, in bounded memory, and return what made the run fail.

    The chunks of a stream may be cut anywhere. Events are ordered by time if all times are known, else by
    the order of streams and lines. Times are compared between sources as they are: correct them for the
    clocks of nodes before. `extra` are signatures that take precedence over orch's own, such as those of
    the site.
    """
    evidence = evidence or Evidence()
    findings = Findings()
    scan = Scan(findings, extra)
    for source, data in evidence.error_files:
        if (read := read_error_file(data)) is not None:
            error, time = read
            scan.error(error, Place(source.name, rank=source.rank, node=source.node, time=time))
    for source, chunks in streams:
        scan.source(source, as_utf8(chunks))
    for node, lines in evidence.kernel_logs.items():
        whole = (line if line.endswith(b"\n") else line + b"\n" for line in lines)
        scan.source(Source(f"kernel log of {node}", node=node), whole)
    exits = _merged(evidence.exits, scan.exits)
    explain_exits(exits, evidence, findings)
    groups = findings.groups()
    if any(_explains(group) for group in groups):
        groups = [group for group in groups if group.signature is not LAST_LINE]
    hits = [
        _hit(group, scan.positions)
        for group in groups
        if group.signature.id != "training.member-missing" or _is_member_missing(group)
    ]
    found = Diagnosis(_ordered(hits, evidence.exits, exits, scan.positions), exits)
    return found if found.verdict else replace(found, leads=tuple(scan.leads[-_MAX_LEADS:]))


def _merged(given: tuple[Exit, ...], reported: Collection[Exit]) -> tuple[Exit, ...]:
    """Return the exits of all ranks; those given take precedence over those that a launcher reported."""
    by_rank: dict[int | None, Exit] = {}
    ranked = {end.pid for end in reported if end.rank is not None and end.pid is not None}
    for end in reported:
        if end.rank is not None or end.pid not in ranked:
            by_rank.setdefault(end.rank, end)
    for end in given:
        by_rank.pop(end.rank, None)
    return (*given, *by_rank.values())


def _explains(group: Group) -> bool:
    """Tell whether a group says more about a failure than an exit status or a last line does."""
    signature = group.signature
    is_weak = signature is LAST_LINE or signature.id.startswith("exit.")
    return not is_weak and signature.kind <= Kind.CASCADE and bool(group.standing)


def _survived(hits: list[Hit], exits: Iterable[Exit]) -> list[Hit]:
    """Return what a rank only logged or printed, and then ended for another reason."""
    signalled = {end.rank for end in exits if signal_of(end.code) not in (None, SIGTERM)}
    raised = [hit for hit in hits if hit.kind is Kind.ROOT and hit.error is not None]

    def ended_otherwise(hit: Hit) -> bool:
        ranks, sources = set(hit.ranks), set(hit.sources)
        return (bool(ranks) and ranks <= signalled) or any(
            not ranks.isdisjoint(other.ranks) or not sources.isdisjoint(other.sources)
            for other in raised
            if not (hit.is_logged and other.is_logged)
        )

    return [
        hit
        for hit in hits
        if (hit.is_logged or (hit.signature.is_survivable and hit.error is None))
        and ended_otherwise(hit)
    ]


def _ordered(
    hits: list[Hit], given: Iterable[Exit], exits: Iterable[Exit], positions: Mapping[str, int]
) -> tuple[Hit, ...]:
    """Return roots first; within a kind, what the rank had that failed first, if given, then by time.

    If the time of a hit of that kind is unknown, by position, after what a rank had that a launcher saw
    fail first (of its own node). What a rank survived counts as a cascade; what the program recovered from
    comes after cascades.
    """
    survived = {id(hit) for hit in _survived(hits, exits)}
    root_causes = {end.rank for end in given if end.first}
    first_failures = {end.rank for end in exits if end.first}
    untimed = {hit.kind for hit in hits if hit.first.place.time is None}

    def key(hit: Hit) -> tuple[float, bool, bool, float, bool, tuple[int, int]]:
        time = None if hit.kind in untimed else hit.first.place.time
        return (
            _AFTER_CASCADES if hit.recovered else Kind.CASCADE if id(hit) in survived else hit.kind,
            _is_elsewhere(hit, root_causes),
            hit.signature.is_general,
            time or 0.0,
            _is_elsewhere(hit, first_failures),
            _position(hit.first, positions),
        )

    return tuple(sorted(hits, key=key))


def _is_elsewhere(hit: Hit, ranks: set[int | None]) -> bool:
    return hit.kind < Kind.CASCADE and bool(ranks) and ranks.isdisjoint(hit.ranks)


def _position(match: Match, positions: Mapping[str, int]) -> tuple[int, int]:
    """Return where a match is in what was read; what is in no source comes last."""
    return positions.get(match.place.source, len(positions)), match.place.line


def _hit(group: Group, positions: Mapping[str, int]) -> Hit:
    signature = group.signature
    matches = sorted(
        group.matches.values(),
        key=lambda match: (match.place.time or 0.0, _position(match, positions)),
    )
    details = matches[0].details
    cause = signature.cause.format_map(details)
    if signature.id == "nccl.watchdog" and (ranks := _lagging(group) or _at_odds(group)):
        cause = f"{cause}; {ranks}"
    return Hit(
        signature=signature,
        matches=tuple(matches),
        count=group.count,
        meaning=signature.meaning.format_map(details),
        cause=cause,
        fix=signature.fix.format_map(details),
        orch_fix=signature.orch_fix and signature.orch_fix.format_map(details),
        recovered=signature.kind < Kind.HINT and not group.standing,
    )


def _is_member_missing(group: Group) -> bool:
    """Return whether fewer ranks announced themselves than one of them waits for."""
    sizes = {match.details["size"] for match in group.matches.values()}
    ranks = {match.details["rank"] for match in group.matches.values()}
    return any(len(ranks) < int(size) for size in sizes)


def _lagging(group: Group) -> str | None:
    """Return which ranks are at an earlier collective than others, if the numbers show it.

    Each process group counts its own collectives, so they are not compared if a rank has another number
    in its group, as with tensor or pipeline parallelism.
    """
    collectives: dict[int, tuple[int, str]] = {}
    for match in group.matches.values():
        rank, details = match.place.rank, match.details
        if rank is None or not details["number"].isdigit():
            continue
        if details["member"] not in ("?", str(rank)):
            return None
        collectives.setdefault(rank, (int(details["number"]), details["operation"]))
    if len({number for number, _ in collectives.values()}) < 2:
        return None
    number, operation = earliest = min(collectives.values())
    ranks = sorted(rank for rank, collective in collectives.items() if collective == earliest)
    return f"rank {folded(ranks)} is at {operation} number {number}, others are further"


# Of these, all ranks of a group pass the same size.
_SAME_SIZE = re.compile(r"_?(?:ALLREDUCE|ALLGATHER|REDUCE_SCATTER|BROADCAST)\w{0,40}$")


def _at_odds(group: Group) -> str | None:
    """Return that ranks call different collectives as the same one of their group, if the log shows it."""
    at: dict[tuple[str, str], list[int]] = {}
    numbers = set()
    for match in group.matches.values():
        rank, details = match.place.rank, match.details
        if rank is None or details["member"] not in ("?", str(rank)):
            return None
        if not _SAME_SIZE.match(details["operation"]) or not details["size"].isdigit():
            return None
        numbers.add(details["number"])
        at.setdefault((details["operation"], details["size"]), []).append(rank)
    if len(at) < 2 or len(numbers) != 1:
        return None
    calls = ", ".join(
        f"rank {folded(sorted(set(ranks)))} calls {operation} of {size} elements"
        for (operation, size), ranks in list(at.items())[:3]
    )
    return f"ranks took different paths: {calls}"
