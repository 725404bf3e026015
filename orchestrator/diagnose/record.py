"""A diagnosis as JSON, for other programs and for a run's record."""

from __future__ import annotations

from orchestrator.diagnose.model import Diagnosis, Exit, Hit, Match, PythonError


def as_json(diagnosis: Diagnosis) -> dict[str, object]:
    """Return `{"verdict": id or null, "hits": [...], "exits": [...]}`, of what json.dumps can write.

    Hits stand in the diagnosis' order; `first` is the place and text of the first match of each,
    and `signature_file` the file of a site's own signature, null for one of orch's.
    """
    verdict = diagnosis.verdict
    return {
        "verdict": None if verdict is None else verdict.signature.id,
        "hits": [_hit(hit) for hit in diagnosis.hits],
        "exits": [_exit(end) for end in diagnosis.exits],
    }


def _hit(hit: Hit) -> dict[str, object]:
    return {
        "id": hit.signature.id,
        "kind": hit.kind.name.lower(),
        "meaning": hit.meaning,
        "cause": hit.cause,
        "fix": hit.fix,
        "check": hit.signature.check,
        "signature_file": hit.signature.file,
        "ranks": list(hit.ranks),
        "nodes": list(hit.nodes),
        "sources": list(hit.sources),
        "count": hit.count,
        "first": _match(hit.first),
        "error": None if hit.error is None else _error(hit.error),
    }


def _match(match: Match) -> dict[str, object]:
    place = match.place
    return {
        "source": place.source,
        "line": place.line or None,
        "rank": place.rank,
        "node": place.node,
        "time": place.time,
        "text": match.text,
        "details": dict(match.details),
    }


def _error(error: PythonError) -> dict[str, object]:
    return {
        "type": error.type,
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "function": error.function,
        "because": None if error.because is None else _error(error.because),
    }


def _exit(end: Exit) -> dict[str, object]:
    return {"rank": end.rank, "code": end.code, "node": end.node, "pid": end.pid, "time": end.time}
