"""From logs and evidence to a diagnosis: which failures, on which ranks, the cause before its effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.diagnose.exits import judge, signal_of
from orchestrator.diagnose.findings import Findings, Group
from orchestrator.diagnose.model import Diagnosis, Evidence, Exit, Hit, Match, Place, Source
from orchestrator.diagnose.scan import Scan
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.traceback import read_error_file
from orchestrator.util.numbers import folded

_SIGTERM = 15  # a launcher's: it tells nothing of the rank


def diagnose(
    streams: Iterable[tuple[Source, Iterable[bytes]]],
    evidence: Evidence | None = None,
    extra: tuple[Signature, ...] = (),
) -> Diagnosis:
    """Read every stream once, in bounded memory, and say what made the run fail.

    A stream's chunks may be cut anywhere. Streams are read in the order given; where no times are
    known, that and the order of lines is the order of events. Times are compared between sources as
    they are: correct them for the clocks of nodes before. `extra` are signatures that count before orch's
    own, such as those of the site.
    """
    evidence = evidence or Evidence()
    findings = Findings()
    scan = Scan(findings, extra)
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
    culprits = {end.rank for end in evidence.exits if end.first}
    firsts = {end.rank for end in exits if end.first}
    groups = [group for group in findings.groups() if _counts(group)]
    hits = [_hit(group, scan.names) for group in groups]
    survived = _survived(hits, exits)
    return Diagnosis(_ordered(hits, survived, culprits, firsts, scan.names), exits)


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


def _survived(hits: list[Hit], exits: Iterable[Exit]) -> list[Hit]:
    """Return what somebody told, or caught, but then ended of something else."""
    signalled = {end.rank for end in exits if signal_of(end.code) not in (None, _SIGTERM)}
    raised = [hit for hit in hits if hit.kind is Kind.ROOT and hit.error is not None]

    def is_outdone(hit: Hit) -> bool:
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
        and is_outdone(hit)
    ]


def _ordered(
    hits: list[Hit],
    survived: list[Hit],
    culprits: set[int | None],
    firsts: set[int | None],
    names: Mapping[str, int],
) -> tuple[Hit, ...]:
    """Return roots first; of a kind what the `culprits` have, then by time if it is known of all.

    What was `survived` comes behind the symptoms.

    Else as they were read, where what a rank has that a launcher saw fail first (`firsts`; a launcher
    sees its own node only) comes before what others have.
    """
    timed = {
        kind: all(hit.first.place.time is not None for hit in hits if hit.kind is kind)
        for kind in Kind
    }

    def is_elsewhere(hit: Hit, ranks: set[int | None]) -> bool:
        return hit.kind < Kind.CASCADE and bool(ranks) and ranks.isdisjoint(hit.ranks)

    def place(hit: Hit) -> tuple[int, bool, float, bool, tuple[int, int]]:
        time = hit.first.place.time if timed[hit.kind] else None
        return (
            Kind.CASCADE if any(hit is one for one in survived) else hit.kind,
            is_elsewhere(hit, culprits),
            time or 0.0,
            is_elsewhere(hit, firsts),
            _position(hit.first, names),
        )

    return tuple(sorted(hits, key=place))


def _position(match: Match, names: Mapping[str, int]) -> tuple[int, int]:
    """Where it stands in what was read; what is in no source comes last."""
    return names.get(match.place.source, len(names)), match.place.line


def _hit(group: Group, names: Mapping[str, int]) -> Hit:
    signature = group.signature
    matches = tuple(
        sorted(
            group.matches.values(),
            key=lambda match: (match.place.time or 0.0, _position(match, names)),
        )
    )
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


def members_missing(group: Group) -> bool:
    """Whether fewer ranks announced themselves than each of them waits for."""
    sizes = {match.details["size"] for match in group.matches.values()}
    ranks = {match.details["rank"] for match in group.matches.values()}
    return any(len(ranks) < int(size) for size in sizes)


def lagging(group: Group) -> str | None:
    """Say which ranks stand at an earlier collective than others, if the numbers tell.

    Each process group counts its own collectives: they tell nothing where a rank goes by another number
    in its group, as in one of tensor or pipeline parallelism.
    """
    stands: dict[int, tuple[int, str]] = {}
    for match in group.matches.values():
        rank, details = match.place.rank, match.details
        if rank is None or not details["number"].isdigit():
            continue
        if details["member"] not in ("?", str(rank)):
            return None
        stands.setdefault(rank, (int(details["number"]), details["operation"]))
    if len(set(stands.values())) < 2:
        return None
    number, operation = min(stands.values())
    ranks = sorted(rank for rank, stand in stands.items() if stand == (number, operation))
    return f"rank {folded(ranks)} stands at {operation} number {number}, others are further"
