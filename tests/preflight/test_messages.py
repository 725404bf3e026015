"""Failures and their remedies as lines of an error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Unreachable
from orchestrator.preflight.messages import lines, summary, who
from orchestrator.preflight.model import Status
from orchestrator.util.text import escaped, one_line
from tests.preflight.contexts import make_context, plan_names
from tests.ui.reports import failed, passed, report, result


def test_lines_have_failure_remedy_and_commands() -> None:
    finding = failed(
        "/dev/shm is small", "node1", "node2", text="make it larger", commands=["mount x"]
    )
    warning = failed("slow", "node0", status=Status.WARN, text="hurry")
    assert lines(
        report(result("shm", finding), result("nic", warning), result("disk", passed()))
    ) == [
        "shm  node[1-2]: /dev/shm is small",
        "  → make it larger (on node[1-2])",
        "      mount x",
    ]


def test_lines_of_a_failure_without_remedy() -> None:
    assert lines(report(result("shm", failed("gone", "node1")))) == ["shm  node1: gone"]


def test_lines_with_different_commands_by_node() -> None:
    finding = failed("small", "node0", "node1", text="make it larger", commands=["mount x"])
    assert lines(report(result("shm", finding), facts_of={1: {"uid": 1000}}))[1:] == [
        "  → make it larger",
        "    on node0:",
        "      mount x",
        "    on node1:",
        "      sudo mount x",
    ]


def test_remedy_without_commands_ends_with_its_nodes() -> None:
    finding = failed("refused", "node2", text="list it once")
    assert lines(report(result("ssh.reach", finding)))[1:] == ["  → list it once (node2)"]
    finding = failed("refused", *plan_names(3), text="list it once")
    assert lines(report(result("ssh.reach", finding)))[1:] == ["  → list it once"]


def test_message_of_several_lines_is_shown_as_one() -> None:
    assert lines(report(result("a", failed("no agent\n  → look\nb  node0: fine", "node1")))) == [
        "a  node1: no agent → look b node0: fine"
    ]


def test_who_is_all_only_with_unreachable_nodes_included() -> None:
    dead = Unreachable("node3", "refused", "refused", "start sshd")
    assert who(make_context(3), plan_names(3)) == "all"
    assert who(make_context(3, unreachable=(dead,)), plan_names(3)) == "node[0-2]"
    assert who(make_context(3, unreachable=(dead,)), plan_names(4)) == "all"
    assert who(make_context(1), ["node0"]) == "node0"
    assert who(make_context(3), []) == "-"


def test_summary_counts_checks_by_the_worst_finding() -> None:
    several = result("a", failed("x", "node0"), failed("y", "node1"), passed())
    assert summary(report(several, result("b", passed())), 0.04) == (
        "1 fail, 1 pass in 0.0 s (3 nodes, full)"
    )
    assert summary(report(nodes=1), 1) == "no checks in 1.0 s (1 node, full)"


@given(st.text(st.characters()))
def test_text_from_a_node_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()
    assert escaped(text).isprintable()


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_printable_text_is_not_escaped(text: str) -> None:
    assert escaped(text) == text
