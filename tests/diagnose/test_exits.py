"""How a process ended, alone and with what the kernel reports."""

from __future__ import annotations

import pytest

from orchestrator.diagnose import Evidence, Exit, Hit, Kind, Source, diagnose
from orchestrator.diagnose.launcher_exits import signal_of

KILLED = b"Memory cgroup out of memory: Killed process 4711 (python) total-vm:2623712kB\n"


def verdict(evidence: Evidence, log: bytes = b"") -> Hit:
    found = diagnose([(Source("log"), [log])], evidence).verdict
    assert found is not None
    return found


@pytest.mark.parametrize("code", [-9, 137, 247])
def test_sigkill_alone_is_not_out_of_memory(code: int) -> None:
    hit = verdict(Evidence(exits=(Exit(3, code, "node1", 4711),)))
    assert (hit.signature.id, hit.ranks) == ("exit.kill", (3,))
    assert "no kernel log was read" in hit.first.text


def test_sigkill_with_a_silent_kernel_log_says_so() -> None:
    hit = verdict(Evidence((Exit(3, -9, "node1", 4711),), kernel_logs={"node1": [b"eth0: up\n"]}))
    assert hit.signature.id == "exit.kill"
    assert "the kernel log of node1 does not show why" in hit.first.text


def test_sigkill_named_in_the_kernel_log_is_out_of_memory() -> None:
    hit = verdict(Evidence((Exit(3, -9, "node1", 4711),), kernel_logs={"node1": [KILLED]}))
    assert (hit.signature.id, hit.ranks, hit.nodes) == ("memory.oom-killer", (3,), ("node1",))
    assert "4711" in hit.cause


@pytest.mark.parametrize(("node", "pid"), [("node1", 4712), ("node2", 4711)])
def test_sigkill_of_another_process_does_not_explain_a_rank(node: str, pid: int) -> None:
    evidence = Evidence((Exit(3, -9, node, pid),), kernel_logs={"node1": [KILLED]})
    hits = {hit.signature.id: hit.ranks for hit in diagnose([], evidence).hits}
    assert hits == {"memory.oom-killer": (), "exit.kill": (3,)}


def test_sigkill_counted_by_the_cgroup_is_out_of_memory() -> None:
    hit = verdict(Evidence((Exit(3, -9, "node1", 4711),), oom_kills={"node1": 1}))
    assert (hit.signature.id, hit.ranks) == ("memory.oom-killer", (3,))


def test_exit_code_is_reported_only_if_nothing_else_explains_the_rank() -> None:
    evidence = Evidence((Exit(1, 1),))
    assert verdict(evidence).signature.id == "exit.code"
    log = b"[rank1]: Traceback (most recent call last):\n[rank1]: ValueError: bad\n"
    (hit,) = diagnose([(Source("log"), [log])], evidence).hits
    assert hit.signature.id == "python.exception"


SURVIVED = b"WARNING: no flash-attn: ModuleNotFoundError: No module named 'flash_attn'\n"
RAISED = b'Traceback (most recent call last):\n  File "train.py", line 3\nValueError: bad\n'


@pytest.mark.parametrize(
    ("code", "log", "expected"),
    [
        (1, RAISED, "python.exception"),
        (-9, b"", "exit.kill"),
        (-11, b"", "exit.segv"),
        (1, b"", "python.no-module"),
    ],
)
def test_survivable_line_counts_less_than_what_ended_the_rank(
    code: int, log: bytes, expected: str
) -> None:
    source = Source("rank-3.err", 3, "node1")
    evidence = Evidence(exits=(Exit(3, code, "node1"),))
    hits = diagnose([(source, [SURVIVED + log])], evidence).hits
    assert hits[0].signature.id == expected
    assert "python.no-module" in {hit.signature.id for hit in hits}


def test_survivable_error_that_the_rank_raised_is_the_cause() -> None:
    log = RAISED.replace(b"ValueError: bad", b"ModuleNotFoundError: No module named 'flash_attn'")
    hits = diagnose([(Source("rank-3.err", 3), [SURVIVED + log])]).hits
    assert hits[0].signature.id == "python.no-module"


def test_stopped_ranks_are_a_cascade() -> None:
    evidence = Evidence((Exit(0, -15), Exit(1, -11), Exit(2, -15)))
    crash, stopped = diagnose([], evidence).hits
    assert (crash.signature.id, crash.ranks) == ("exit.segv", (1,))
    assert (stopped.kind, stopped.ranks) == (Kind.CASCADE, (0, 2))


def test_exit_code_0_is_no_hit() -> None:
    assert diagnose([], Evidence((Exit(0, 0), Exit(1, 0)))).hits == ()


@pytest.mark.parametrize(
    ("code", "signal"), [(0, None), (1, None), (-6, 6), (134, 6), (128, None), (255, None)]
)
def test_signal_of_understands_both_forms_of_a_signal(code: int, signal: int | None) -> None:
    assert signal_of(code) == signal


SUMMARY = b"""\
Failures:
[1]:
  time      : 2026-11-21_16:36:31
  host      : node0
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 13)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 13
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_16:36:31
  host      : node0
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 4711)  (SIGKILL)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 4711
============================================================
"""


def test_summary_of_torchrun_gives_the_exits() -> None:
    exits = diagnose([(Source("log"), [SUMMARY])]).exits
    assert [(e.rank, e.code, e.node, e.pid, e.first) for e in exits] == [
        (0, -15, "node0", 13, False),
        (1, -9, "node0", 4711, True),
    ]


def test_summary_takes_the_node_of_its_source() -> None:
    ends = diagnose([(Source("launcher.err", node="n7"), [SUMMARY])]).exits
    assert {end.node for end in ends} == {"n7"}


def test_summary_and_kernel_log_together_show_out_of_memory() -> None:
    hit = verdict(Evidence(kernel_logs={"node0": [KILLED]}), SUMMARY)
    assert (hit.signature.id, hit.ranks) == ("memory.oom-killer", (1,))


def test_given_exit_takes_precedence_over_one_that_a_launcher_reported() -> None:
    (first, second) = diagnose([(Source("log"), [SUMMARY])], Evidence((Exit(1, 3),))).exits
    assert (first.rank, first.code, second.rank) == (1, 3, 0)


def verdict_on(text: str) -> Hit:
    """Return the verdict on the output of one rank."""
    found = diagnose([(Source("rank-0.err"), [text.encode()])]).verdict
    assert found is not None
    return found


CAUGHT = """\
step 10
2026-11-20 10:00:00,123 - ERROR - could not load sample 7, continuing
Traceback (most recent call last):
  File "/home/user/job/data.py", line 9, in load
    return torch.load(path)
FileNotFoundError: [Errno 2] No such file or directory: '/data/7.pt'
step 20
"""
ENDED_BY = """\
Traceback (most recent call last):
  File "/home/user/job/train.py", line 42, in main
    loss.backward()
ValueError: this batch is not like the others
"""


def test_logged_exception_counts_less_than_the_one_that_ended_the_rank() -> None:
    assert (
        verdict_on(CAUGHT + ENDED_BY).first.text == "ValueError: this batch is not like the others"
    )
    again = verdict_on(CAUGHT + CAUGHT.replace("7", "8") + ENDED_BY)
    assert again.first.text == "ValueError: this batch is not like the others"
    another = CAUGHT.replace("FileNotFoundError", "KeyError")  # also one that matches no signature
    assert (
        verdict_on(another + ENDED_BY).first.text == "ValueError: this batch is not like the others"
    )


def test_logged_exception_is_the_cause_if_there_is_no_other() -> None:
    assert "No such file" in verdict_on(CAUGHT).first.text
    raised_again = verdict_on("ERROR:root:it failed\n" + ENDED_BY + ENDED_BY)
    assert not raised_again.is_logged


def test_line_logged_by_another_rank_does_not_mark_an_exception_as_logged() -> None:
    def of_rank(rank: int, text: str) -> str:
        return "".join(f"[rank{rank}]: {line}\n" for line in text.splitlines())

    first = ENDED_BY.replace("ValueError", "KeyError")
    text = of_rank(1, "ERROR:root:could not load sample 7") + of_rank(0, first + ENDED_BY)
    assert verdict_on(text).first.text == "KeyError: this batch is not like the others"
