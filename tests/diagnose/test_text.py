"""A finding in plain words."""

from __future__ import annotations

from orchestrator.diagnose import PythonError, Source, diagnose
from orchestrator.diagnose.text import affected, location, raised_at

VICTIM = b"RuntimeError: Connection closed by peer [10.0.0.17]:4711\n"


def victims(*sources: Source) -> str:
    return affected(diagnose([(source, [VICTIM]) for source in sources]).hits[0])


def test_ranks_are_counted_and_their_nodes_named() -> None:
    assert victims(Source("a", 3, "node1")) == "rank 3 on node1"
    assert victims(Source("a", 2, "node1"), Source("b", 3, "node1")) == "2 ranks (2-3) on node1"
    assert victims(Source("a", 2, "n0"), Source("b", 4, "n1")) == "2 ranks (2,4) on 2 nodes"
    assert victims(Source("a", 3)) == "rank 3"


def test_nodes_that_have_to_be_mended_are_named() -> None:
    def missing(count: int) -> str:
        text = b"ModuleNotFoundError: No module named 'foo'\n"
        sources = [Source(f"r{node}", node, f"n{node}") for node in range(count)]
        return affected(diagnose([(source, [text]) for source in sources]).hits[0])

    assert missing(2) == "2 ranks (0-1) on n0, n1"
    assert missing(4) == "4 ranks (0-3) on n0, n1, n2, n3"
    assert missing(5) == "5 ranks (0-4) on n0, n1, n2 and 2 more"


def test_files_are_named_where_ranks_are_not_known() -> None:
    assert victims(Source("job.log")) == "job.log"
    assert victims(Source("job.log"), Source("b.log"), Source("c.log")) == "job.log and 2 more"


def test_a_place_is_a_file_and_a_line_as_compilers_write_them() -> None:
    hit = diagnose([(Source("job.log"), [b"step 1\n", VICTIM])]).hits[0]
    assert location(hit.first) == "job.log:2"


def test_the_users_own_line_has_its_function_where_there_is_one() -> None:
    assert raised_at(PythonError("E", "", "train.py", 88, "step")) == "train.py:88 in step"
    assert raised_at(PythonError("E", "", "train.py", 88, "<module>")) == "train.py:88"
    assert raised_at(PythonError("E", "")) is None
