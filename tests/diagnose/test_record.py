"""A diagnosis as JSON."""

from __future__ import annotations

import json

from orchestrator.diagnose import Evidence, Exit, Source, diagnose
from orchestrator.diagnose.record import as_json

LOG = b'Traceback (most recent call last):\n  File "train.py", line 8, in f\nKeyError: 3\n'


def test_it_says_what_was_found_and_can_be_written() -> None:
    diagnosis = diagnose([(Source("rank-1.err", 1, "node0"), [LOG])], Evidence((Exit(0, -15),)))
    told = json.loads(json.dumps(as_json(diagnosis)))
    assert told["verdict"] == "python.exception"
    assert [hit["id"] for hit in told["hits"]] == ["python.exception", "exit.terminated"]
    assert told["hits"][0]["error"] == {
        "type": "KeyError",
        "message": "3",
        "file": "train.py",
        "line": 8,
        "function": "f",
        "because": None,
    }
    assert told["hits"][0]["first"]["line"] == 3
    assert told["exits"] == [{"rank": 0, "code": -15, "node": None, "pid": None, "time": None}]


def test_nothing_found_is_null() -> None:
    assert as_json(diagnose([])) == {"verdict": None, "hits": [], "exits": []}
