"""Findings from verdicts: equal ones are merged, and a missing answer is never a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.judge import (
    for_all,
    judge_check,
    judge_each,
    judge_nodes,
    most_common,
    to_findings,
    worst,
)
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Probe,
    Remedy,
    Status,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, warn

from .contexts import answered, brief, make_context

COLOUR: Probe[str] = Probe("colour", str)


def _red_fails(node: NodeContext, found: str) -> Verdict:
    if found == "red":
        data = {"node": node.name}
        return Verdict(Status.FAIL, "is red", "paint it", ("paint green",), data)
    return Verdict(Status.PASS, "is fine")


def judged(context: Context) -> list[Finding]:
    return judge_each(context, COLOUR, _red_fails)


def test_equal_verdicts_are_one_finding_and_the_worst_comes_first() -> None:
    found = judged(make_context(4, answers=answered(COLOUR, "green", "red", "green", "red")))
    assert brief(found) == [("fail", "node1,node3"), ("pass", "node0,node2")]
    assert found[0].remedy == Remedy("paint it", ("paint green",), ("node1", "node3"))
    assert found[0].data == {"node1": {"node": "node1"}, "node3": {"node": "node3"}}


def test_node_that_did_not_answer_is_incomplete() -> None:
    (finding,) = judged(make_context(2))
    assert (finding.status, finding.nodes) == (Status.INCOMPLETE, ("node0", "node1"))
    assert finding.message == "could not be checked: it was not asked"


def test_verdicts_of_a_node_are_all_reported_and_one_that_lacks_an_answer_is_incomplete() -> None:
    def verdict(node: NodeContext) -> Iterator[Verdict]:
        colour = node.answer(COLOUR)
        yield warn(f"is {colour}")
        yield fail("has a stripe")

    context = make_context(2, answers=answered(COLOUR, "red", "red"))
    context = replace(context, answers={"colour": {"node0": "red"}})
    found = judge_nodes(context, verdict)
    assert brief(found) == [("fail", "node0"), ("incomplete", "node1"), ("warn", "node0")]
    assert found[1].message == "could not be checked: it was not asked"


def test_check_that_requires_what_was_not_measured_is_incomplete() -> None:
    check = Check("a.b", Group.GPU, Level.FULL, "", "", lambda context: [context.require(Finding)])
    (finding,) = judge_check(check, make_context(2))
    assert (finding.status, finding.nodes) == (Status.INCOMPLETE, ("node0", "node1"))
    assert finding.message == "could not be checked: it was not measured"


def test_verdicts_with_different_commands_are_separate_findings() -> None:
    verdicts = [(name, Verdict(Status.FAIL, "is off", "do", (f"do {name}",))) for name in "ab"]
    assert [finding.nodes for finding in to_findings(verdicts)] == [("a",), ("b",)]


def test_verdicts_with_commands_of_different_users_stay_apart() -> None:
    """Merged, the commands of one node would be run as the wrong user."""
    as_root = fail("is red", "paint it", ("paint green",))
    verdicts = [("a", as_root), ("b", replace(as_root, as_root=False))]
    remedies = [finding.remedy for finding in to_findings(verdicts)]
    assert [(remedy.nodes, remedy.as_root) for remedy in remedies if remedy] == [
        (("a",), True),
        (("b",), False),
    ]


def test_worst_of_no_findings_is_skip() -> None:
    assert worst([]) is Status.SKIP
    several = for_all(make_context(2), passed("fine")) + to_findings(
        [("node0", incomplete("silence"))]
    )
    assert worst(several) is Status.INCOMPLETE


def test_badness_of_statuses_ascends_from_skip_to_fail() -> None:
    assert sorted(Status, key=lambda status: status.badness) == [
        Status.SKIP, Status.PASS, Status.WARN, Status.INCOMPLETE, Status.FAIL,
    ]  # fmt: skip


def test_most_common_is_the_most_frequent_value() -> None:
    assert most_common({"a": "2.4", "b": "2.5", "c": "2.5", "d": "2.3", "e": "2.5"}) == "2.5"


def test_most_common_without_majority_is_the_first() -> None:
    assert most_common({"main": 1, "other": 2}) == 1
    assert most_common({"main": 1, "a": 3, "b": 2, "c": 2, "d": 3}) == 3
    assert most_common({}) is None


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 3), min_size=1))
def test_most_common_has_the_highest_count(values: dict[str, int]) -> None:
    counts = Counter(values.values())
    assert counts[most_common(values) or 0] == max(counts.values())


@given(
    st.lists(
        st.tuples(
            st.text("ab", min_size=1, max_size=2),
            st.builds(Verdict, st.sampled_from(Status), st.sampled_from(["x", "y"])),
        )
    )
)
def test_to_findings_keeps_every_verdict(verdicts: list[tuple[str, Verdict]]) -> None:
    findings = to_findings(verdicts)
    found = sorted((n, f.status, f.message) for f in findings for n in f.nodes)
    assert found == sorted((name, v.status, v.message) for name, v in verdicts)
    badness = [finding.status.badness for finding in findings]
    assert badness == sorted(badness, reverse=True)
