"""A diagnosis as JSON."""

from __future__ import annotations

import json

from orchestrator.diagnose import Evidence, Exit, Source, diagnose
from orchestrator.diagnose.record import as_json

LOG = b'Traceback (most recent call last):\n  File "train.py", line 8, in f\nKeyError: 3\n'


def test_as_json_has_hits_and_exits() -> None:
    diagnosis = diagnose([(Source("rank-1.err", 1, "node0"), [LOG])], Evidence((Exit(0, -15),)))
    described = json.loads(json.dumps(as_json(diagnosis)))
    assert described["verdict"] == "python.exception"
    assert [hit["id"] for hit in described["hits"]] == ["python.exception", "exit.terminated"]
    assert described["hits"][0]["error"] == {
        "type": "KeyError",
        "message": "3",
        "file": "train.py",
        "line": 8,
        "function": "f",
        "because": None,
        "library": None,
        "call": None,
    }
    assert described["hits"][0]["first"]["line"] == 3
    assert described["exits"] == [{"rank": 0, "code": -15, "node": None, "pid": None, "time": None}]


def test_as_json_of_nothing_has_a_null_verdict() -> None:
    assert as_json(diagnose([])) == {"verdict": None, "hits": [], "exits": [], "leads": []}
