"""Why a run failed: the explanation of the first failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.control.explain import SelfReports, explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.remote.reports import ProcessEnd, RankReport
from tests.runs.helpers import ENDED, KILL, OK, TERM, plan_of, rank

FAILED = ProcessEnd(1, None)
TRACEBACK = """\
Traceback (most recent call last):
  File "/home/ann/orch/job/train.py", line 88, in step
    loss(batch)
    ^^^^^^^^^^^
{error}
"""
LOST_NODE = TRACEBACK.format(
    error="RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error "
    "[198.18.0.12]:34697: Connection timed out. This is typically caused by a remote worker hanging"
)
RAISED = TRACEBACK.format(error="ValueError: no such batch")
LOST_PEER = TRACEBACK.format(
    error="RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] "
    "Connection closed by peer [10.0.0.2]:41234"
)


def write(logs: Path, name: str, text: str | bytes, node: str = "n0") -> None:
    path = logs / node / "attempt-0" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def explained(
    logs: Path, end: ProcessEnd = FAILED, known: NodeEvidence | None = None
) -> events.Explained:
    """Explain a run in which rank 0 of three ended so after 4 seconds; 1 and 2 were stopped."""
    nodes = {
        "n0": NodeState("n0", {0: rank(0, end, 4.0), 1: rank(1, TERM, 5.0)}, ENDED),
        "n1": NodeState("n1", {2: rank(2, TERM, 5.0)}, ENDED),
    }
    first_failure = FirstFailure("n0", 0, end)
    return explain(plan_of(2, 1), nodes, first_failure, logs, known or NodeEvidence())


def test_exception_is_shown_with_its_place_and_last_lines(
    tmp_path: Path,
) -> None:
    write(tmp_path, "rank-0.out", "epoch 3\n")
    write(tmp_path, "rank-0.err", "a warning\n\n" + RAISED)
    found = explained(tmp_path)
    assert found.how == "rank 0 on n0 exited with 1"
    assert (found.rank, found.node, found.code, found.signal, found.after) == (
        0,
        "n0",
        1,
        None,
        4.0,
    )
    assert found.error == "ValueError: no such batch"
    assert found.place.endswith("train.py:88 in step")
    assert (found.channel, found.lines[0], found.lines[-1]) == (
        "stderr",
        "a warning",
        "    loss(batch)",
    )
    assert (found.victims, found.command) == ((1, 2), "orch logs r --rank 0 --stderr")
    assert found.logs == tmp_path / "n0/attempt-0/rank-0.err"


def test_error_file_of_torch_has_priority_over_output(tmp_path: Path) -> None:
    recorded = {"message": "KeyError: 'x'", "extraInfo": {"py_callstack": "", "timestamp": "1"}}
    write(tmp_path, "rank-0.err", RAISED)
    known = NodeEvidence(error_file=json.dumps({"message": recorded}))
    assert explained(tmp_path, known=known).error == "KeyError: 'x'"
    assert (
        explained(tmp_path, known=NodeEvidence(error_file="{")).error == "ValueError: no such batch"
    )


def test_paths_are_relative_to_the_jobs_folder(tmp_path: Path) -> None:
    workdir = plan_of(2, 1).nodes[0].workdir
    write(tmp_path, "rank-0.err", RAISED.replace("/home/ann/orch/job", f"{workdir}/src"))
    found = explained(tmp_path)
    assert found.place == "src/train.py:88 in step"
    assert found.lines[1] == '  File "src/train.py", line 88, in step'


def test_last_lines_are_of_stdout_if_stderr_is_empty(
    tmp_path: Path,
) -> None:
    write(tmp_path, "rank-0.out", "".join(f"step {n}\n" for n in range(50)))
    write(tmp_path, "rank-0.err", "\n")
    found = explained(tmp_path, ProcessEnd(3, None))
    assert found.lines == tuple(f"step {n}" for n in range(40, 50))
    assert (found.channel, found.command) == ("stdout", "orch logs r --rank 0 --stdout")
    assert (found.error, found.place, found.signature) == ("", "", "exit.code")


def test_message_of_sys_exit_is_the_error(tmp_path: Path) -> None:
    write(tmp_path, "rank-0.err", "reading the config\nno data set is called imagnet\n")
    found = explained(tmp_path)
    assert (found.error, found.signature) == ("no data set is called imagnet", "exit.code")
    assert found.cause == "it exited with this message, as sys.exit(message) does"
    assert found.lines == ("reading the config",)


def test_unexplained_exit_code_refers_to_the_output(tmp_path: Path) -> None:
    write(tmp_path, "rank-0.err", "a warning\n")
    found = explained(tmp_path, ProcessEnd(3, None))
    assert (found.error, found.meaning, found.lines) == ("", "", ("a warning",))
    assert found.fix == "see its last lines of output below"


def test_unexplained_end_on_a_full_disk_is_attributed_to_it(tmp_path: Path) -> None:
    write(tmp_path, "rank-0.err", "step 3\nTraceb")
    found = explained(tmp_path, known=NodeEvidence(full=("/root/.local",)))
    assert (found.signature, found.meaning) == ("disk.full", "the disk is full")
    assert found.evidence == "no space is left in /root/.local: its last output may be lost"
    write(tmp_path, "rank-0.err", RAISED)
    assert (
        explained(tmp_path, known=NodeEvidence(full=("/tmp",))).error == "ValueError: no such batch"
    )
    write(
        tmp_path,
        "rank-0.err",
        TRACEBACK.format(error="OSError: [Errno 28] No space left on device"),
    )
    found = explained(tmp_path, known=NodeEvidence(full=("/job",)))
    assert (found.signature, found.evidence) == ("disk.full", "no space is left in /job")


def test_unexplained_end_with_a_log_at_the_file_limit_is_attributed_to_it(
    tmp_path: Path,
) -> None:
    write(tmp_path, "rank-0.out", "x" * 4096)
    found = explained(tmp_path, known=NodeEvidence(file_limit=4096))
    assert found.signature == "disk.file-limit"
    assert "its log has reached the limit of 4.1 kB" in found.evidence
    assert explained(tmp_path, known=NodeEvidence(file_limit=1 << 20)).signature == "exit.code"
    write(tmp_path, "rank-0.err", TRACEBACK.format(error="OSError: [Errno 27] File too large"))
    found = explained(tmp_path, known=NodeEvidence(file_limit=1 << 20))
    assert (found.signature, found.evidence) == (
        "disk.file-limit",
        "the limit there is 1.0 MB per file",
    )
    assert explained(tmp_path, ProcessEnd(None, 25)).signature == "disk.file-limit"


def test_ranks_that_never_started_are_unbegun(tmp_path: Path) -> None:
    nodes = {"n0": NodeState("n0", {}, ENDED), "n1": NodeState("n1", {2: rank(2, TERM)}, ENDED)}
    found = explain(
        plan_of(2, 1), nodes, FirstFailure("n0", None, FAILED), tmp_path, NodeEvidence()
    )
    assert (found.victims, found.unbegun) == ((2,), (0, 1))


def test_noise_of_healthy_ranks_is_left_out(tmp_path: Path) -> None:
    noise = "[W1121 socket.cpp:207] [c10d] The hostname of the client socket cannot be retrieved. err=-3\n"
    write(tmp_path, "rank-0.err", noise)
    write(tmp_path, "rank-0.out", "epoch 3\n")
    found = explained(tmp_path)
    assert (found.channel, found.lines) == ("stdout", ("epoch 3",))
    write(tmp_path, "rank-0.err", "look out\n" + noise)
    assert explained(tmp_path, ProcessEnd(3, None)).lines == ("look out",)


def test_rank_without_output_is_explained(tmp_path: Path) -> None:
    found = explained(tmp_path, ProcessEnd(None, 11))
    assert (found.lines, found.signature) == ((), "exit.segv")


@pytest.mark.parametrize(
    "known",
    [
        NodeEvidence(oom_kills=1),
        NodeEvidence(kernel=("Memory cgroup out of memory: Killed process 100 (python)",)),
    ],
    ids=["control group", "kernel log"],
)
def test_killed_rank_is_out_of_memory_if_the_kernel_says_so(
    tmp_path: Path, known: NodeEvidence
) -> None:
    found = explained(tmp_path, KILL, known)
    assert found.signature == "memory.oom-killer"
    assert "oom_kill grew by 1" in found.evidence or "Killed process 100" in found.evidence


@pytest.mark.parametrize(
    "known",
    [
        NodeEvidence(),
        NodeEvidence(oom_kills=0, kernel=()),
        NodeEvidence(kernel=("Out of memory: Killed process 1001 (python)",)),
        NodeEvidence(why="/dev/kmsg: Operation not permitted"),
    ],
)
def test_killed_rank_without_kernel_evidence_is_only_killed(
    tmp_path: Path, known: NodeEvidence
) -> None:
    found = explained(tmp_path, KILL, known)
    assert found.signature == "exit.kill"
    assert (known.why or "") in found.evidence


def test_oom_kill_of_another_process_in_the_group_is_reported(tmp_path: Path) -> None:
    """A worker of a data loader, for example, or a process that the script has started."""
    write(tmp_path, "rank-0.err", RAISED)
    found = explained(tmp_path, FAILED, NodeEvidence(oom_kills=2))
    assert found.error == "ValueError: no such batch"
    assert found.evidence == (
        "the kernel killed 2 processes of its control group meanwhile, for lack of memory"
    )


def test_last_lines_are_printable_and_short(tmp_path: Path) -> None:
    write(tmp_path, "rank-0.err", b"\x1b[31mred\x1b[0m \x1b]0;title\x07\nold\rnew\n" + b"x" * 9999)
    lines = explained(tmp_path, ProcessEnd(3, None)).lines
    assert lines[:2] == ("red ^[]0;title^G", "new")
    assert len(lines[2]) == 400


def test_gone_node_has_no_output_and_its_ranks_are_no_victims(tmp_path: Path) -> None:
    gone = NodeState("n0", {0: rank(0), 1: rank(1)}, None, gone="vanished")
    nodes = {"n0": gone, "n1": NodeState("n1", {2: rank(2, TERM)}, ENDED)}
    found = explain(
        plan_of(2, 1), nodes, FirstFailure("n0", None, None, "vanished"), tmp_path, NodeEvidence()
    )
    assert (found.how, found.rank, found.victims) == ("n0 vanished", None, (2,))
    assert (found.lines, found.command) == ((), "orch logs r --nodes n0")
    assert found.cause


def test_failed_launcher_is_explained_by_its_output(tmp_path: Path) -> None:
    write(
        tmp_path, "launcher.err", "usage: torchrun\ntorchrun: error: unrecognized arguments: --x\n"
    )
    nodes = {"n0": NodeState("n0", {}, ENDED), "n1": NodeState("n1", {}, ENDED)}
    first_failure = FirstFailure("n0", None, ProcessEnd(2, None))
    found = explain(plan_of(2, 1), nodes, first_failure, tmp_path, NodeEvidence())
    assert found.how == "the launcher on n0 exited with 2"
    assert found.lines[-1] == "torchrun: error: unrecognized arguments: --x"


def test_ranks_that_succeeded_are_no_victims(tmp_path: Path) -> None:
    nodes = {"n0": NodeState("n0", {0: rank(0, FAILED), 1: rank(1, OK)}, ENDED)}
    found = explain(plan_of(2), nodes, FirstFailure("n0", 0, FAILED), tmp_path, NodeEvidence())
    assert found.victims == ()


@pytest.mark.parametrize(
    ("said", "end", "account"),
    [
        (RAISED, FAILED, "own"),
        (LOST_PEER, FAILED, "others"),
        (LOST_NODE, FAILED, "others"),
        ("step 3\n", ProcessEnd(3, None), ""),
        ("", KILL, ""),
        ("", ProcessEnd(None, 11), "own"),
        ("", TERM, "others"),
        (LOST_PEER, ProcessEnd(None, 6), "others"),
    ],
    ids=[
        "raised",
        "lost a peer",
        "lost a node",
        "exited",
        "killed",
        "crashed",
        "stopped",
        "gave up",
    ],
)
def test_self_report_of_output(tmp_path: Path, said: str, end: ProcessEnd, account: str) -> None:
    write(tmp_path, "rank-0.err", said)
    state = NodeState("n0", {}, ENDED)
    assert SelfReports(tmp_path)(state, rank(0, end)) == account


def test_self_report_of_a_rank_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "rank-0.err", RAISED)
    hear, state = SelfReports(tmp_path), NodeState("n0", {}, ENDED)
    report: RankReport = rank(0, FAILED)
    assert hear(state, report) == "own"
    write(tmp_path, "rank-0.err", LOST_PEER)
    assert hear(state, report) == "own"


def test_self_reports_of_the_same_rank_on_two_nodes_are_separate(tmp_path: Path) -> None:
    """In an elastic run, one may have failed, and another had its number in the round before."""
    write(tmp_path, "rank-0.err", LOST_PEER)
    write(tmp_path, "rank-0.err", RAISED, node="n1")
    hear = SelfReports(tmp_path)
    heard = [hear(NodeState(name, {}, ENDED), rank(0, FAILED)) for name in ("n0", "n1")]
    assert heard == ["others", "own"]


@pytest.mark.parametrize("answer", [None, {}, {"kernel": 3}, {"error_file": None}])
def test_invalid_evidence_is_refused(answer: Any) -> None:
    with pytest.raises((TypeError, KeyError)):
        NodeEvidence.parse(answer)


def test_signatures_of_the_site_give_cause_and_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        "[[signature]]\n"
        "id = 'site.quota'\n"
        "meaning = 'the quota of {project} is used up'\n"
        "patterns = ['quota of (?P<project>[a-z]{1,20}) exceeded']\n"
        "cause = 'too many checkpoints'\n"
        "fix = 'delete some'\n"
        "[[signature]]\n"
        "id = 'site.goodbye'\n"
        "meaning = 'harmless'\n"
        "patterns = ['storage client says goodbye']\n"
        "cause = 'it always does'\n"
        "fix = 'nothing'\n"
        "kind = 'noise'\n"
    )
    write(
        tmp_path,
        "rank-0.err",
        TRACEBACK.format(error="RuntimeError: quota of vision exceeded")
        + "storage client says goodbye\n",
    )
    assert explained(tmp_path).signature == "python.exception"
    monkeypatch.setenv("ORCH_SIGNATURES", str(file))
    found = explained(tmp_path)
    assert (found.signature, found.meaning) == (
        "site.quota",
        "the quota of vision is used up",
    )
    assert (found.cause, found.fix) == ("too many checkpoints", "delete some")
    assert found.error == "RuntimeError: quota of vision exceeded"
    assert found.lines[-1] != "storage client says goodbye"
