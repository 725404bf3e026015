from __future__ import annotations

from orchestrator.logs.merge import Line, Member, Merge
from orchestrator.logs.stream import Stream


def members(count: int) -> list[Member]:
    return [Member(Stream("n", 0, rank, rank, "stderr"), b"") for rank in range(count)]


def place(merge: Merge, member: Member, texts: str) -> list[Line]:
    """Each letter is a line."""
    left = []
    for text in texts.encode():
        left += merge.place(member, bytes([text]), bytes([text]), 0.0)
    return left


def shown(lines: list[Line]) -> str:
    """Each line with the ranks that have it."""
    return " ".join(
        line.text.decode() + "".join(str(member.stream.rank) for member in line.members)
        for line in lines
    )


def test_different_lines_keep_their_order() -> None:
    merge, (a, b) = Merge(2), members(2)
    place(merge, a, "x")
    place(merge, b, "y")
    place(merge, a, "z")
    assert shown(merge.leave_all()) == "x0 y1 z0"


def test_own_lines_are_moved_before_a_shared_line() -> None:
    merge, (a, b, _) = Merge(3), members(3)
    place(merge, a, "pqr")
    place(merge, b, "pXYr")
    assert shown(merge.leave_all()) == "p01 q0 X1 Y1 r01"


def test_shared_line_is_not_moved() -> None:
    merge, (a, b, c) = Merge(4), members(3)
    place(merge, a, "p")
    place(merge, b, "q")
    place(merge, c, "q")
    place(merge, b, "p")  # its q comes first, so this is another p
    assert shown(merge.leave_all()) == "p0 q12 p1"


def test_line_that_all_have_leaves_at_the_head() -> None:
    merge, (a, b) = Merge(2), members(2)
    assert place(merge, a, "xy") == []
    assert shown(place(merge, b, "y")) == ""
    assert shown(merge.leave_at(1.0)) == "x0 y01"
    assert merge.count == 0
    assert not a.waits
    assert not b.waits


def test_own_lines_of_500_ranks_fit_before_a_shared_line() -> None:
    merge, all_members = Merge(5000), members(500)
    for number, member in enumerate(all_members):
        merge.place(member, b"%d" % number, b"%d" % number, 0.0)
        merge.place(member, b"end", b"end", 0.0)
    *own, last = merge.leave_all()
    assert [line.text for line in own] == [b"%d" % number for number in range(500)]
    assert last.members == all_members
