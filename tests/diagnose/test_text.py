"""Which ranks and nodes had a finding, and where."""

from __future__ import annotations

from orchestrator.diagnose import PythonError, Source, diagnose
from orchestrator.diagnose.text import affected, location, raised_at

LOST_PEER = b"RuntimeError: Connection closed by peer [10.0.0.17]:4711\n"


def affected_by(*sources: Source) -> str:
    return affected(diagnose([(source, [LOST_PEER]) for source in sources]).hits[0])


def test_affected_counts_ranks_and_names_nodes() -> None:
    assert affected_by(Source("a", 3, "node1")) == "rank 3 on node1"
    assert affected_by(Source("a", 2, "node1"), Source("b", 3, "node1")) == "2 ranks (2-3) on node1"
    assert affected_by(Source("a", 2, "n0"), Source("b", 4, "n1")) == "2 ranks (2,4) on 2 nodes"
    assert affected_by(Source("a", 3)) == "rank 3"


def test_affected_names_nodes_that_need_to_be_fixed() -> None:
    def missing(count: int) -> str:
        text = b"ModuleNotFoundError: No module named 'foo'\n"
        sources = [Source(f"r{node}", node, f"n{node}") for node in range(count)]
        return affected(diagnose([(source, [text]) for source in sources]).hits[0])

    assert missing(2) == "2 ranks (0-1) on n0, n1"
    assert missing(4) == "4 ranks (0-3) on n0, n1, n2, n3"
    assert missing(5) == "5 ranks (0-4) on n0, n1, n2 and 2 more"


def test_affected_names_files_if_ranks_are_unknown() -> None:
    assert affected_by(Source("job.log")) == "job.log"
    assert affected_by(Source("job.log"), Source("b.log"), Source("c.log")) == "job.log and 2 more"


def test_location_is_file_and_line() -> None:
    hit = diagnose([(Source("job.log"), [b"step 1\n", LOST_PEER])]).hits[0]
    assert location(hit.first) == "job.log:2"


def test_raised_at_names_the_function_if_there_is_one() -> None:
    assert raised_at(PythonError("E", "", "train.py", 88, "step")) == "train.py:88 in step"
    assert raised_at(PythonError("E", "", "train.py", 88, "<module>")) == "train.py:88"
    assert raised_at(PythonError("E", "")) is None
