"""The oracle objects to what is wrong, and only to that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from .draw import Draw, Fault, Job, Options
from .evidence import Command, Evidence, Life, Stream, Strike, read_life
from .job import complaint, output
from .oracle import named, objections

JOB = Job(
    nodes=2,
    per_node=1,
    launcher="direct",
    steps=10,
    pause=0.02,
    size=40,
    on_term="leave",
    grandchildren=False,
    endings={},
)
OPTIONS = Options(
    grace=0.3,
    node_timeout=3.0,
    connect_timeout=3.0,
    restarts=0,
    detach=False,
    timeout=None,
    lease=None,
)
# The launch; ranks start a second later, and have done their steps two seconds later.
BEGAN = 1000.0
GOOD = (0, "all 2 ranks succeeded")


def life(rank: int, **changes: Any) -> Life:
    """One that has taken all its steps."""
    done: dict[str, Any] = {
        "writing": 9, "wrote": 9, "is_done": True, "how": "exit", "code": 0, "last": BEGAN + 3
    }  # fmt: skip
    return Life(f"node{rank}", rank, 0, BEGAN + 1, **{**done, **changes})


def failed(rank: int, code: int, at: float, how: str = "exit") -> Life:
    """One that left with a failure, so many seconds after the launch."""
    return life(rank, writing=4, wrote=4, is_done=False, how=how, code=code, last=BEGAN + at)


def terminated(rank: int, at: float) -> Life:
    """One that was asked to stop."""
    return life(
        rank, writing=4, wrote=4, is_done=False, how="terminated", code=143,
        terminated_at=BEGAN + at, last=BEGAN + at,
    )  # fmt: skip


def hit(
    kind: str, target: str, node: str, at: float, *, lasts: float = 0.0, rank: int | None = None
) -> Strike:
    """A fault that happened so many seconds after the launch."""
    fault = Fault(kind, target, node, "running", 0.0, lasts)
    return Strike(fault, BEGAN + at, BEGAN + at + lasts, node, rank)


def streams(lives: Sequence[Life]) -> list[Stream]:
    """What the lives wrote, all of it here."""
    found = []
    for one in lives:
        steps = range(one.wrote + 1)
        out = b"".join(output(7, one.rank, one.attempt, step, JOB.size) for step in steps)
        err = b"".join(complaint(7, one.rank, one.attempt, step) for step in steps)
        found.append(Stream(one.node, one.attempt, f"rank-{one.rank}.out", out, out))
        found.append(Stream(one.node, one.attempt, f"rank-{one.rank}.err", err, err))
    return found


def evidence(
    verdict: tuple[int, str] = GOOD,
    lives: Sequence[Life] | None = None,
    strikes: Sequence[Strike] = (),
    options: Options = OPTIONS,
    **changes: Any,
) -> Evidence:
    """A run of which all is as it must be, if its verdict is."""
    code, summary = verdict
    lives = [life(0), life(1)] if lives is None else lives
    record: dict[str, Any] = {
        "state": "ended", "began": BEGAN + 0.9, "ended": BEGAN + 4, "exit_code": code,
        "summary": summary, "missing": [], "attempt": 0, "failed": [],
    }  # fmt: skip
    shown = json.dumps({key: record[key] for key in ("state", "exit_code", "summary")})
    written = streams(lives)
    commands = [
        Command("launch", code, b"", ""),
        Command("after-logs", 0, written[0].copy if written else b"", ""),
        Command("after-attach", code, b"", ""),
        Command("after-status", 0, shown.encode(), ""),
    ]
    draw = Draw(7, JOB, options, tuple(strike.fault for strike in strikes))
    whole = Evidence(draw, BEGAN, lives, strikes, written, record, commands)
    return replace(whole, **changes)


def with_record(found: Evidence, **changes: Any) -> Evidence:
    """The same with another run.json."""
    return replace(found, record={**(found.record or {}), **changes})


def rules(found: Evidence) -> set[str]:
    """Which rules object."""
    return {line.partition(":")[0] for line in objections(found)}


def starts(*at: float) -> dict[str, str]:
    """What is noted where a controller was started so many seconds after the launch."""
    stamps = [datetime.fromtimestamp(BEGAN + one).astimezone() for one in at]
    lines = [
        f"{stamp.isoformat(timespec='seconds')} process 7 starts a controller" for stamp in stamps
    ]
    return {"ctl/controller.log": "".join(f"{line}\n" for line in lines)}


EXIT_3 = [terminated(0, 2.5), failed(1, 3, 2)]
KILLED = [
    terminated(0, 2.5),
    life(1, writing=4, wrote=4, is_done=False, how=None, code=None, last=BEGAN + 2),
]
TRUE = {
    "success": evidence(),
    "rank_exits": evidence((3, "rank 1 on node1 exited with 3"), EXIT_3),
    "rank_killed": evidence(
        (137, "rank 1 on node1 was killed by SIGKILL"), KILLED, [hit("kill", "rank", "node1", 2, rank=1)]
    ),
    "supervisor_killed": evidence(
        (1, "node1 lost its supervisor"), KILLED, [hit("kill", "supervisor", "node1", 2)]
    ),
    "stopped": evidence((130, "stopped by orch stop"), [terminated(0, 2), terminated(1, 2)],
                        [hit("stop", "run", "ctl", 1.9)]),
    "stop_came_too_late": evidence(strikes=[hit("stop", "run", "ctl", 2.9)]),
    "timed_out": evidence((124, "timed out after 1 s"), [terminated(0, 2), terminated(1, 2)],
                          options=replace(OPTIONS, timeout=1.0)),
    "either_of_two_at_once": evidence(
        (3, "rank 1 on node1 exited with 3"), [failed(0, 5, 2.1), failed(1, 3, 2)]
    ),
    "rank_terminated": evidence(
        (143, "rank 1 on node1 exited with 143"), [terminated(0, 2.5), terminated(1, 2)],
        [hit("term", "rank", "node1", 2, rank=1)]),
    "supervisor_terminated": evidence(
        (1, "node1 stopped: the supervisor received SIGTERM from process 0"),
        [terminated(0, 2), terminated(1, 2)], [hit("term", "supervisor", "node1", 1.9)]),
    "controller_terminated": evidence((143, "stopped by SIGTERM"), [terminated(0, 2), terminated(1, 2)],
                                      [hit("term", "controller", "ctl", 1.9)]),
    "halted_agent_is_replaced": evidence(strikes=[hit("halt", "agent", "node1", 2, lasts=9.0)]),
    "controller_killed_and_another_started_by_a_crowd": evidence(
        strikes=[hit("kill", "controller", "ctl", 1.5)], notes=starts(2)),
    "controllers_started_after_the_end_to_fetch": evidence(notes=starts(4, 6, 7)),
    "cut_too_short_to_matter": evidence(strikes=[hit("cut", "link", "node1", 2, lasts=0.5)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE)
def test_true_outcome_is_accepted(name: str) -> None:
    assert objections(TRUE[name]) == []


FALSE: dict[str, tuple[str, Evidence]] = {
    "success_though_a_rank_exited": ("success_is_true", evidence(GOOD, EXIT_3)),
    "success_though_a_rank_was_killed": ("success_is_true", evidence(
        GOOD, [life(0), KILLED[1]], [hit("kill", "rank", "node1", 2, rank=1)])),
    "failure_though_all_did_their_steps": (
        "success_is_true", evidence((1, "not every rank ended by itself"))),
    "wrong_rank": ("verdict_is_true", evidence((3, "rank 0 on node0 exited with 3"), EXIT_3)),
    "wrong_node": ("verdict_is_true", evidence((3, "rank 1 on node0 exited with 3"), EXIT_3)),
    "wrong_code": ("verdict_is_true", evidence((1, "rank 1 on node1 exited with 1"), EXIT_3)),
    "victim_named": ("verdict_is_true", evidence((143, "rank 0 on node0 exited with 143"), EXIT_3)),
    "innocent_named_in_passing": ("verdict_is_true", evidence(
        (3, "rank 1 on node1 exited with 3; no spare is left for node0"), EXIT_3)),
    "later_of_two": ("verdict_is_true", evidence(
        (3, "rank 1 on node1 exited with 3"), [failed(0, 5, 1.5), failed(1, 3, 3.5)])),
    "stop_names_a_node": ("verdict_is_true", evidence(
        (1, "node0 stopped: interrupted"), [terminated(0, 2), terminated(1, 2)],
        [hit("stop", "run", "ctl", 1.9)])),
    "stop_that_nobody_asked_for": ("verdict_is_true", evidence(
        (130, "stopped by an interrupt"), [terminated(0, 2), terminated(1, 2)])),
    "time_limit_that_nobody_set": ("verdict_is_true", evidence(
        (124, "timed out after 1 s"), [terminated(0, 2), terminated(1, 2)])),
    "frozen_supervisor_ends_the_run": ("verdict_is_true", evidence(
        (1, "node1 stopped: the supervisor was asked to stop"), [terminated(0, 2), terminated(1, 2)],
        [hit("freeze", "supervisor", "node1", 1.5, lasts=2.0)])),
    "short_cut_ends_the_run": ("verdict_is_true", evidence(
        (1, "node1 could not be reached"), [terminated(0, 2), terminated(1, 2)],
        [hit("cut", "link", "node1", 1.5, lasts=0.5)])),
    "exit_codes_differ": ("codes_agree", evidence(
        commands=[Command("launch", 1, b"", "")])),
    "attach_differs": ("codes_agree", evidence(
        commands=[Command("launch", 0, b"", ""), Command("after-attach", 1, b"", "")])),
    "logs_fail": (
        "commands_succeed",
        evidence(commands=[Command("logs1", 1, b"", "")]),
    ),
    "stop_does_not_see_the_end": (
        "commands_succeed",
        evidence(commands=[Command("stop", 125, b"", "")]),
    ),
    "crowd_starts_two_controllers": ("one_controller_is_started", evidence(
        strikes=[hit("kill", "controller", "ctl", 1.5)], notes=starts(2, 2))),
    "controller_started_beside_the_launch": ("one_controller_is_started", evidence(notes=starts(2))),
    "signal_to_a_shim_ends_the_run": ("verdict_is_true", evidence(
        (1, "rank 1 on node1 exited with 1"), [terminated(0, 2), terminated(1, 2)],
        [hit("term", "shim", "node1", 1.9, rank=1)])),
    "halted_agent_ends_the_run": ("verdict_is_true", evidence(
        (1, "node1 could not be reached"), [terminated(0, 2), terminated(1, 2)],
        [hit("halt", "agent", "node1", 1.5, lasts=9.0)])),
    "process_left": ("nothing_is_left", evidence(left=["node0: 17 setsid sleep 1000"])),
    "bystander_ended": ("no_bystander_is_harmed", evidence(harmed=["node0: -9"])),
    "traceback": ("no_traceback", evidence(
        commands=[Command("launch", 0, b"", "Traceback (most recent call last):\n")])),
    "traceback_in_the_background": ("no_traceback", evidence(
        notes={"ctl/controller.log": "Traceback (most recent call last):\n"})),
    "command_hangs": ("no_command_hangs", evidence(
        commands=[Command("logs", None, b"", "", is_over=False)])),
    "third_attempt": ("attempts", evidence(
        options=replace(OPTIONS, restarts=1),
        lives=[replace(life(rank), attempt=attempt) for rank in (0, 1) for attempt in (0, 1, 2)])),
    "attempt_after_the_end": ("attempts", with_record(evidence(), ended=BEGAN)),
    "rank_started_twice": ("attempts", evidence(lives=[life(0), life(0), life(1)])),
    "missing_without_cause": ("missing_is_explained", with_record(evidence(), missing=["node0"])),
    "launch_fails_without_cause": ("launch_that_fails_is_explained", evidence(
        lives=[], record=None, commands=[Command("launch", 125, b"", "node1: no answer")])),
    "launch_names_an_innocent": ("launch_that_fails_is_explained", evidence(
        lives=[], record=None, strikes=[hit("cut", "link", "node0", 0.5, lasts=3.0)],
        commands=[Command("launch", 125, b"", "node1: no answer")])),
    "ranks_without_a_record": ("launch_that_fails_is_explained", evidence(
        record=None, commands=[Command("launch", 125, b"", "")])),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_false_outcome_is_rejected(name: str) -> None:
    rule, found = FALSE[name]
    assert rule in rules(found)


def test_run_that_does_not_end_is_rejected() -> None:
    assert objections(evidence(has_ended=False)) == ["the run did not end"]
    one = [hit("vanish", "node", "node1", 2)]
    assert objections(evidence(has_ended=False, strikes=one)) == ["the run did not end"]


def test_run_without_any_node_left_may_keep_waiting() -> None:
    both = [hit("vanish", "node", node, 2) for node in ("node0", "node1")]
    assert objections(evidence(has_ended=False, strikes=both)) == []


def test_completed_ranks_without_a_supervisor_may_count_as_either() -> None:
    strikes = [hit("kill", "supervisor", "node1", 2.5)]
    assert objections(evidence(strikes=strikes)) == []
    lives = [life(0), failed(1, 3, 2.9)]
    assert "success_is_true" in rules(evidence(strikes=strikes, lives=lives))


def test_changed_byte_of_a_copy_is_rejected() -> None:
    first, *others = evidence().streams
    changed = replace(first, copy=b"?" + first.copy[1:])
    assert "copies_are_prefixes" in rules(evidence(streams=[changed, *others]))


def test_short_copy_is_rejected_unless_its_node_is_missing() -> None:
    first, *others = evidence().streams
    short = evidence(streams=[replace(first, copy=first.copy[:-1]), *others])
    assert "copies_are_prefixes" in rules(short)
    assert "copies_are_prefixes" not in rules(with_record(short, missing=["node0"]))


@pytest.mark.parametrize("change", ["lost", "doubled", "other"])
def test_stream_that_differs_from_what_the_rank_wrote_is_rejected(change: str) -> None:
    first, *others = evidence().streams
    assert first.original is not None
    data = {
        "lost": first.original[:-1],
        "doubled": first.original + b"x",
        "other": b"?" + first.original[1:],
    }[change]
    found = evidence(streams=[replace(first, original=data, copy=data), *others])
    assert "nothing_written_is_lost" in rules(found)


def test_half_a_step_of_a_killed_rank_is_accepted() -> None:
    lives = [life(0), replace(KILLED[1], writing=5)]
    *others, out, err = streams(lives)
    assert out.original is not None
    half = out.original + output(7, 1, 0, 5, JOB.size)[:3]
    strikes = [hit("kill", "rank", "node1", 2, rank=1)]
    found = evidence(
        (137, "rank 1 on node1 was killed by SIGKILL"),
        lives,
        strikes,
        streams=[*others, replace(out, original=half, copy=half), err],
    )
    assert objections(found) == []


def test_copy_of_a_vanished_node_is_compared_with_what_it_wrote() -> None:
    strikes = [hit("vanish", "node", "node1", 2)]
    *others, out, err = streams(KILLED)
    for copy, is_true in ((out.copy[:5], True), (b"?" + out.copy[1:], False)):
        found = evidence(
            (1, "node1 could not be reached"),
            KILLED,
            strikes,
            streams=[*others, replace(out, original=None, copy=copy), replace(err, original=None)],
        )
        assert (objections(found) == []) is is_true


def test_vanished_node_without_a_copy_is_accepted() -> None:
    found = evidence(
        (1, "node1 could not be reached"),
        KILLED,
        [hit("vanish", "node", "node1", 2)],
        streams=[stream for stream in streams(KILLED) if stream.node == "node0"],
    )
    assert objections(found) == []


def test_first_attempt_is_judged_by_what_happened_in_it() -> None:
    options = replace(OPTIONS, restarts=1)
    second = [replace(life(rank), attempt=1, started=BEGAN + 3, last=BEGAN + 5) for rank in (0, 1)]
    failures = [{"number": 0, "ended": BEGAN + 2.6, "exit_code": 3}]
    for rank, is_true in ((1, True), (0, False)):
        summary = f"rank {rank} on node{rank} exited with 3"
        found = evidence(lives=[*EXIT_3, *second], options=options)
        shown = b"".join(s.copy for s in found.streams if s.name == "rank-0.out")
        commands = [c if c.name != "after-logs" else replace(c, out=shown) for c in found.commands]
        past = [{**failures[0], "summary": summary}]
        found = with_record(
            replace(found, commands=commands), attempt=1, failed=past, ended=BEGAN + 6
        )
        assert (objections(found) == []) is is_true


def test_verdict_is_of_the_attempt_before_one_that_did_not_start() -> None:
    options = replace(OPTIONS, restarts=1)
    strikes = [hit("fill", "disk", "node0", 1.9, lasts=2.0)]
    past = {
        "number": 0,
        "ended": BEGAN + 2.6,
        "exit_code": 3,
        "summary": "rank 1 on node1 exited with 3",
    }
    for rank, is_true in ((1, True), (0, False)):
        summary = f"rank {rank} on node{rank} exited with 3; attempt 2 could not be started: node0"
        found = evidence((3, summary), EXIT_3, strikes, options)
        found = with_record(found, attempt=1, failed=[past])
        assert (objections(found) == []) is is_true


@pytest.mark.parametrize(("at", "lasts"), [(0.2, 0.1), (-2.9, 3.0)])
def test_cut_before_an_attempt_that_started_excuses_no_false_verdict(
    at: float, lasts: float
) -> None:
    strikes = [hit("cut", "link", "node0", at, lasts=lasts)]
    lives = [replace(one, started=BEGAN + 4) for one in (terminated(0, 5.5), failed(1, 3, 5))]
    for rank, is_true in ((1, True), (0, False)):
        found = evidence((3, f"rank {rank} on node{rank} exited with 3"), lives, strikes)
        found = with_record(found, ended=BEGAN + 6)
        assert (objections(found) == []) is is_true


def test_names_are_read_from_a_sentence() -> None:
    assert named("rank 12 on node3 exited with 1") == (frozenset({"node3"}), frozenset({12}))
    assert named("all 2 ranks succeeded") == (frozenset(), frozenset())


def test_truncated_journal_is_read_up_to_the_cut() -> None:
    text = '{"event": "started", "t": 1.0}\n{"event": "wrote", "t": 2.0, "step": 3}\n{"event": "exi'
    found = read_life("node1", "3-1-77.jsonl", text)
    assert found == Life("node1", 3, 1, 1.0, wrote=3, last=2.0)


def test_journal_of_a_rank_that_has_not_started_has_no_attempt() -> None:
    assert read_life("node1", "3-0-77.jsonl", "") is None
