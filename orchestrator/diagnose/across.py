"""What only several ranks together can tell."""

from __future__ import annotations

from orchestrator.diagnose.findings import Group


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


def folded(ranks: list[int]) -> str:
    """Return ascending numbers as ranges: `0-2,5`."""
    parts: list[str] = []
    start = previous = None
    for rank in ranks:
        if previous is not None and rank == previous + 1:
            previous = rank
            continue
        if start is not None and previous is not None:
            parts.append(_range(start, previous))
        start = previous = rank
    if start is not None and previous is not None:
        parts.append(_range(start, previous))
    return ",".join(parts)


def _range(start: int, end: int) -> str:
    return str(start) if start == end else f"{start}-{end}"
