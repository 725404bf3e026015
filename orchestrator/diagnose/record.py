"""A diagnosis as JSON, for other programs and for the record of a run."""

from __future__ import annotations

from dataclasses import asdict

from orchestrator.diagnose.model import Diagnosis, Exit, Hit, Match


def as_json(diagnosis: Diagnosis) -> dict[str, object]:
    """Return `{"verdict": id or null, "hits": [...], "exits": [...], "leads": [...]}` for json.dumps.

    Hits are in the order of the diagnosis; `first` is the place and text of the first match of each, and
    `signature_file` the file of a site's signature, null for one of orch's.
    """
    verdict = diagnosis.verdict
    return {
        "verdict": None if verdict is None else verdict.signature.id,
        "hits": [_hit(hit) for hit in diagnosis.hits],
        "exits": [_exit(end) for end in diagnosis.exits],
        "leads": [_match(lead) for lead in diagnosis.leads],
    }


def _hit(hit: Hit) -> dict[str, object]:
    return {
        "id": hit.signature.id,
        "kind": hit.kind.name.lower(),
        "meaning": hit.meaning,
        "cause": hit.cause,
        "fix": hit.fix,
        "orch_fix": hit.orch_fix,
        "certainty": hit.certainty.value,
        "recovered": hit.recovered,
        "check": hit.signature.check,
        "signature_file": hit.signature.file,
        "ranks": list(hit.ranks),
        "nodes": list(hit.nodes),
        "sources": list(hit.sources),
        "count": hit.count,
        "first": _match(hit.first),
        "error": None if hit.error is None else asdict(hit.error),
    }


def _match(match: Match) -> dict[str, object]:
    place = asdict(match.place)
    place["line"] = place["line"] or None
    return {**place, "text": match.text, "details": dict(match.details)}


def _exit(end: Exit) -> dict[str, object]:
    return {"rank": end.rank, "code": end.code, "node": end.node, "pid": end.pid, "time": end.time}
