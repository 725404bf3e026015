"""From logs and evidence to a diagnosis: which failures, on which ranks, the cause before its effects."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.diagnose.across import lagging, members_missing
from orchestrator.diagnose.exits import judge
from orchestrator.diagnose.findings import Findings, Group
from orchestrator.diagnose.model import Diagnosis, Evidence, Exit, Hit, Match, Place, Source
from orchestrator.diagnose.scan import Scan
from orchestrator.diagnose.signature import Kind
from orchestrator.diagnose.traceback import read_error_file


def diagnose(
    streams: Iterable[tuple[Source, Iterable[bytes]]], evidence: Evidence | None = None
) -> Diagnosis:
    """Read every stream once, in bounded memory, and say what made the run fail.

    A stream's chunks may be cut anywhere. Streams are read in the order given; where no times are
    known, that and the order of lines is the order of events. Times are compared between sources as
    they are: correct them for the clocks of nodes before.
    """
    evidence = evidence or Evidence()
    findings = Findings()
    scan = Scan(findings)
    for source, data in evidence.error_files:
        read = read_error_file(data)
        if read is not None:
            error, time = read
            scan.error(error, Place(source.name, rank=source.rank, node=source.node, time=time))
    for source, chunks in streams:
        scan.source(source, chunks)
    for node, lines in evidence.kernel_logs.items():
        scan.source(Source(f"kernel log of {node}", node=node), (_line(line) for line in lines))
    exits = _merged(evidence.exits, scan.exits)
    judge(exits, evidence, findings)
    firsts = {end.rank for end in exits if end.first}
    groups = [group for group in findings.groups() if _counts(group)]
    return Diagnosis(tuple(_hit(group) for group in _ordered(groups, firsts)), exits)


def _line(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"


def _merged(given: Iterable[Exit], told: Iterable[Exit]) -> tuple[Exit, ...]:
    """Return the exits of all ranks; what was given counts more than what a launcher told."""
    by_rank: dict[int | None, Exit] = {}
    for end in told:
        by_rank.setdefault(end.rank, end)
    given = tuple(given)
    for end in given:
        by_rank.pop(end.rank, None)
    return (*given, *by_rank.values())


def _counts(group: Group) -> bool:
    return group.signature.id != "training.member-missing" or members_missing(group)


def _ordered(groups: list[Group], firsts: set[int | None]) -> list[Group]:
    """Return roots first; those of a kind by time if it is known of all, else as they were read.

    Without times, what a rank has that a launcher saw fail first comes before what others have.
    """
    timed = {
        kind: all(_time(group) is not None for group in groups if group.signature.kind is kind)
        for kind in Kind
    }

    def place(group: Group) -> tuple[int, float, bool]:
        kind = group.signature.kind
        time = _time(group) if timed[kind] else None
        elsewhere = kind < Kind.CASCADE and bool(firsts) and not group.ranks & firsts
        return kind, time or 0.0, elsewhere

    return sorted(groups, key=place)


def _time(group: Group) -> float | None:
    times = [match.place.time for match in group.matches.values()]
    return min((time for time in times if time is not None), default=None)


def _hit(group: Group) -> Hit:
    signature = group.signature
    matches = tuple(sorted(group.matches.values(), key=_when))
    details = matches[0].details
    cause = signature.cause.format_map(details)
    if signature.id == "nccl.watchdog" and (who := lagging(group)):
        cause = f"{cause}; {who}"
    return Hit(
        signature=signature,
        matches=matches,
        count=group.count,
        meaning=signature.meaning.format_map(details),
        cause=cause,
        fix=signature.fix.format_map(details),
    )


def _when(match: Match) -> float:
    """Matches without a time keep their order, before those with one."""
    return match.place.time or 0.0
