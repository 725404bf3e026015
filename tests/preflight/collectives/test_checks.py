"""Verdicts on a small real collective: sums, speeds, and causes of failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from orchestrator.errors import LaunchError, PlanError
from orchestrator.plan import Job
from orchestrator.preflight.collectives.checks import CHECKS
from orchestrator.preflight.collectives.failure import failures
from orchestrator.preflight.collectives.measure import require_connectivity, why_not
from orchestrator.preflight.collectives.result import Gloo, Nccl, Result
from orchestrator.preflight.collectives.task import (
    AllReduced,
    Done,
    Exchanged,
    Joined,
    Message,
    Summed,
    Task,
)
from orchestrator.preflight.collectives.trial import Share
from orchestrator.preflight.interfaces import tournament
from orchestrator.preflight.interfaces.tournament import Pair
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, NoAnswer, Script, Status
from orchestrator.preflight.reach.attempts import Outcome, Way
from orchestrator.preflight.reach.listeners import CannotListen
from orchestrator.preflight.reach.reachability import Reachability
from orchestrator.remote.reports import ProcessEnd

from ..contexts import brief, interface, make_context

MIB = 1 << 20
GB = 1e9
JUDGE = {check.id: partial(judge_check, check) for check in CHECKS}
FAILED = ProcessEnd(1, None)


def judged(at: Context, found: Result, check: str = "coll.gloo") -> list[Finding]:
    findings = JUDGE[check](replace(at, measured={type(found): found}))
    json.dumps([dict(finding.data) for finding in findings])
    return findings


def all_pairs(n: int, rate: float, **odd: float) -> dict[Pair, float]:
    """The rates of all pairs; `odd` has those of some, as p12=..."""
    pairs = {pair: rate for pairs in tournament.rounds(n) for pair in pairs}
    return {**pairs, **{(int(name[1]), int(name[2])): value for name, value in odd.items()}}


def well(n: int = 3, *, rate: float = GB, **more: object) -> Gloo:
    """A complete trial without errors: 32 MiB at `rate` bytes per second, algbw."""
    fields: dict[str, object] = {
        "world_size": n,
        "shares": tuple(Share(f"node{i}") for i in range(n)),
        "sizes": (AllReduced(0, 32 * MIB, (32 * MIB / rate,)),),
        "pairs": all_pairs(n, rate),
        "complete": True,
    }
    return Gloo(**{**fields, **more})  # type: ignore[arg-type]


def broken(**said: Sequence[str] | None) -> Gloo:
    """A trial that failed on the nodes with output."""
    shares = [
        Share(node)
        if lines is None
        else Share(node, output={"rank-0.err": tuple(lines)}, ranks={0: FAILED})
        for node, lines in said.items()
    ]
    return Gloo(world_size=len(said), shares=tuple(shares))


# -- when it is skipped -----------------------------------------------------------------------


def test_gloo_with_one_node_is_skipped() -> None:
    assert [f.status for f in JUDGE["coll.gloo"](make_context(1))] == [Status.SKIP]


@pytest.mark.parametrize(
    ("gpus", "job", "reason"),
    [
        ([0, 0], Job("train.py"), "no rank has a GPU"),
        ([8, 0], Job("train.py"), "not every node has a GPU for its ranks"),
        (
            [8, 8],
            Job("train.py", devices_by_node={"node1": "cpu"}),
            "not every node has a GPU for its ranks",
        ),
        ([8, 8], Job("train.py", devices="cpu:8"), "no rank has a GPU"),
        ([1], Job("train.py"), "there is only one rank"),
    ],
)
def test_nccl_needs_a_gpu_on_every_node(gpus: list[int], job: Job, reason: str) -> None:
    at = make_context(
        len(gpus), facts_of={i: {"gpus": count} for i, count in enumerate(gpus)}, job=job
    )
    assert why_not(Nccl, at) == reason
    assert brief(JUDGE["coll.nccl"](at)) == [("skip", ",".join(at.names))]


def test_nccl_is_tried_within_one_node_that_has_gpus() -> None:
    assert why_not(Nccl, make_context(1, facts_of={0: {"gpus": 2}})) is None


def test_nodes_that_are_one_machine_cannot_share_its_gpus() -> None:
    same = {"gpus": 2, "identity": "one"}
    assert why_not(Nccl, make_context(2, facts_of={0: same, 1: same})) is not None


def test_nothing_is_tried_for_a_job_without_torch() -> None:
    script = Script(Path("hello.py"), "import os\nprint(os.environ['RANK'])", None)
    assert (
        why_not(Gloo, make_context(2, launcher="direct", script=script))
        == "the job does not use torch"
    )
    assert why_not(Gloo, make_context(2, launcher="torchrun", script=script)) is None


def test_what_could_not_be_tried_is_incomplete() -> None:
    at = make_context(2)
    assert brief(JUDGE["coll.gloo"](at)) == [("incomplete", "node0,node1")]
    at = replace(at, measured={Gloo: NoAnswer("the way between the nodes is blocked")})
    assert "is blocked" in JUDGE["coll.gloo"](at)[0].message


@pytest.mark.parametrize(
    ("result", "shut", "see"),
    [
        ("ok", None, None),
        ("timeout", None, "net.tcp"),
        ("ok", CannotListen("Address already in use", 98), "net.bind"),
    ],
)
def test_blocked_connections_raise_before_the_trial(
    result: str, shut: CannotListen | None, see: str | None
) -> None:
    way = Way("node0", "node1", "ephemeral")
    found = Reachability({way: Outcome(result, 0.1)}, main_port=shut)
    at = replace(make_context(2), measured={Reachability: found})
    if see is None:
        require_connectivity(at)
    else:
        with pytest.raises(LaunchError, match=f"see {see}"):
            require_connectivity(at)


@pytest.mark.parametrize("check", ["nic.pick", "net.bind"])
def test_missing_rendezvous_address_raises_before_the_trial(check: str) -> None:
    with pytest.raises(LaunchError, match=f"see {check}"):
        require_connectivity(make_context(2, trouble={check: PlanError("why")}))


# -- messages of the ranks ---------------------------------------------------------------------------


def collected(messages: Mapping[str, Sequence[Message]]) -> Gloo:
    at = make_context(len(messages))
    task = Task("gloo", (1,) * len(messages), (MIB,), (((0, 1),),), 0.5, 60, 100, "m ")
    shares = [Share(node, messages=tuple(own)) for node, own in messages.items()]
    return Gloo.collect(at.plan, task, shares)


def reports(rank: int, *, right: bool = True, seconds: float = 0.5) -> list[Message]:
    messages: list[Message] = [Joined(rank), Summed(rank, MIB, right)]
    if rank == 0:
        messages.append(AllReduced(0, MIB, (0.5,)))
    return [*messages, Exchanged(rank, (0, 1), MIB, (seconds, 2 * seconds)), Done(rank)]


def test_trial_is_complete_when_every_rank_has_done_everything() -> None:
    found = collected({"node0": reports(0), "node1": reports(1)})
    assert found.complete
    assert (found.wrong, found.missing) == ({}, {})


@pytest.mark.parametrize("kind", [Joined, Summed, Done])
def test_trial_with_a_message_of_one_rank_missing_is_incomplete(kind: type[Message]) -> None:
    silent = [word for word in reports(1) if kind is Joined or not isinstance(word, kind)]
    silent = [] if kind is Joined else silent
    found = collected({"node0": reports(0), "node1": silent})
    assert not found.complete
    assert found.missing == ({"node1": (1,)} if kind is Joined else {})


def test_trial_without_all_reduce_is_incomplete() -> None:
    found = collected({"node0": [Joined(0), Done(0)], "node1": [Joined(1), Done(1)]})
    assert not found.complete


def test_rate_of_a_pair_is_the_best_trial_of_its_slower_side() -> None:
    found = collected({"node0": reports(0, seconds=0.25), "node1": reports(1, seconds=0.5)})
    assert found.pairs == {(0, 1): 2 * MIB}
    assert found.rates == {("node0", "node1"): 2 * MIB, ("node1", "node0"): 2 * MIB}


def test_rates_of_pairs_without_the_reporting_node_are_ignored() -> None:
    lie = Exchanged(2, (0, 1), MIB, (1e-9,))
    found = collected({"node0": reports(0), "node1": reports(1), "node2": [lie]})
    assert found.pairs == {(0, 1): 2 * MIB}
    assert collected({"node0": reports(0), "node1": []}).pairs == {}, "one side alone is not enough"


def test_wrong_sum_fails_only_on_its_node() -> None:
    found = collected({"node0": reports(0), "node1": reports(1, right=False)})
    findings = judged(make_context(2), found)
    assert brief(findings) == [("fail", "node1")]
    assert "sum" in findings[0].message
    assert findings[0].remedy is not None


# -- speed -----------------------------------------------------------------------------------------


def test_equal_speeds_pass() -> None:
    findings = judged(make_context(3), well())
    assert brief(findings) == [("pass", "node0,node1,node2")]
    assert "32 MiB" in findings[0].message
    assert "10.7 Gb/s" in findings[0].message, "busbw of three is 4/3 of algbw"
    assert findings[0].data["sizes"][0]["algbw"] == pytest.approx(GB)
    assert findings[0].data["pairs"][0] == {"nodes": ["node0", "node1"], "algbw": GB}


def test_bandwidths_are_of_the_median_and_of_the_ninth_of_ten_trials() -> None:
    done = AllReduced(0, 100, (1.0,) * 8 + (2.0, 4.0))
    assert done.algbw == 100
    assert done.algbw_p10 == 50
    assert done.busbw(2) == 100


def on_links(speed: int, n: int = 3) -> Context:
    """Nodes whose eth0 has this speed, in Mb/s."""
    links = [(interface("eth0", f"198.18.0.{10 + i}/24", speed=speed),) for i in range(n)]
    return make_context(n, facts_of={i: {"interfaces": own} for i, own in enumerate(links)})


@pytest.mark.parametrize(
    ("speed", "rate", "status"),
    [
        (10_000, 0.3 * GB, Status.PASS),
        (10_000, 0.05 * GB, Status.WARN),
        (100_000, 0.3 * GB, Status.PASS),  # gloo is not compared with so fast a link
        (1_000, 0.05 * GB, Status.PASS),
    ],
)
def test_gloo_warns_far_below_the_link(speed: int, rate: float, status: Status) -> None:
    findings = judged(on_links(speed), well(rate=rate))
    assert [f.status for f in findings] == [status]
    assert "of the link's" in findings[0].message


@pytest.mark.parametrize(
    ("share", "status"), [(0.8, Status.PASS), (0.5, Status.WARN), (0.2, Status.FAIL)]
)
def test_nccl_is_compared_with_the_speed_of_the_link(share: float, status: Status) -> None:
    at = on_links(100_000, 2)
    at = replace(at, facts=tuple(replace(fact, gpus=1) for fact in at.facts))
    rate = share * 100_000 / 8e-6
    found = Nccl(**{**vars(well(2, rate=rate)), "pairs": {(0, 1): rate}})
    assert [f.status for f in judged(at, found, "coll.nccl")] == [status]


@pytest.mark.parametrize(("rate", "status"), [(0.5 * GB, "warn"), (0.1 * GB, "fail")])
def test_node_that_is_slow_twice_is_reported(rate: float, status: str) -> None:
    slow = all_pairs(4, GB, p02=rate, p12=rate, p23=rate)
    findings = judged(make_context(4), well(4, pairs=slow, retested={(0, 2): rate}))
    assert brief(findings) == [(status, "node2"), ("pass", "node0,node1,node3")]
    remedy = findings[0].remedy
    assert remedy is not None
    assert remedy.commands[0] == "ethtool eth0"
    assert remedy.nodes == ("node2",)


def test_slow_node_of_three_is_reported() -> None:
    slow = all_pairs(3, GB, p02=0.1 * GB, p12=0.1 * GB)
    findings = judged(make_context(3), well(3, pairs=slow, retested={(0, 2): 0.1 * GB}))
    assert brief(findings)[0] == ("fail", "node2")


def test_node_that_was_slow_once_passes() -> None:
    slow = all_pairs(4, GB, p02=0.5 * GB, p12=0.5 * GB, p23=0.5 * GB)
    findings = judged(make_context(4), well(4, pairs=slow, retested={(0, 2): 0.97 * GB}))
    assert brief(findings) == [("pass", "node0,node1,node2,node3")]


def test_gloo_slightly_below_the_usual_rate_passes() -> None:
    slow = all_pairs(4, GB, p12=0.8 * GB)
    assert brief(judged(make_context(4), well(4, pairs=slow, retested={(1, 2): 0.8 * GB}))) == [
        ("pass", "node0,node1,node2,node3")
    ]


def test_slow_pair_of_fast_nodes_is_reported() -> None:
    slow = all_pairs(4, GB, p12=0.5 * GB)
    findings = judged(make_context(4), well(4, pairs=slow, retested={(1, 2): 0.5 * GB}))
    assert brief(findings) == [("warn", "node1,node2"), ("pass", "node0,node3")]


def test_node_that_reaches_most_of_the_link_is_not_slow() -> None:
    slow = all_pairs(4, 2 * GB, p02=GB, p12=GB, p23=GB)
    findings = judged(on_links(10_000, 4), well(4, pairs=slow, retested={(0, 2): GB}))
    assert brief(findings) == [("pass", "node0,node1,node2,node3")]


def test_node_with_a_slower_link_than_the_others_is_slow() -> None:
    rate = 0.9 * 1000 / 8e-6
    slow = all_pairs(4, GB, p02=rate, p12=rate, p23=rate)
    at = on_links(10_000, 4)
    down = (interface("eth0", "198.18.0.12/24", speed=1000),)
    facts = [replace(f, interfaces=down) if i == 2 else f for i, f in enumerate(at.facts)]
    at = replace(at, facts=tuple(facts))
    assert brief(judged(at, well(4, pairs=slow, retested={(0, 2): rate})))[0] == ("fail", "node2")


def test_suspect_that_was_not_measured_again_is_incomplete() -> None:
    slow = all_pairs(4, GB, p12=0.5 * GB)
    findings = judged(make_context(4), well(4, pairs=slow))
    assert brief(findings) == [("incomplete", "node1,node2"), ("pass", "node0,node3")]


# -- failures ------------------------------------------------------------------------------------

MESH = (
    "RuntimeError: Gloo connectFullMesh failed with [pair.cc:144] timed out connecting: "
    "SO_ERROR: Connection refused, remote=[{}]:40001"
)


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("ModuleNotFoundError: No module named 'torch'", "sw.versions"),
        ("/usr/bin/python3: No module named torch", "sw.versions"),
        ("ModuleNotFoundError: No module named 'lightning'", "sw.launcher"),
        ("ImportError: cannot import name '_main' from 'lightning.fabric.cli'", "sw.launcher"),
        (
            "RuntimeError: [enforce fail at device.cc:83] Unable to find address for: ib9",
            "nic.pick",
        ),
        ("NCCL WARN Bootstrap : no socket interface found", "nic.pick"),
        (MESH.format("127.0.0.1"), "host.name"),
        (MESH.format("198.18.0.11"), "net.tcp"),
        ("The client socket has timed out after 60s while trying to connect", "net.tcp"),
        ("OSError: [Errno 113] No route to host", "net.tcp"),
        ("The server socket has failed to bind to [::]:29500 (errno: 98)", "net.bind"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "gpu.busy"),
        ("Timeout (0:01:40)!", "net.tcp"),
        ("[rank1]: torch.distributed.DistStoreError: Timed out after 61 seconds", "net.tcp"),
    ],
)
def test_known_cause_names_the_check_with_details(line: str, check: str) -> None:
    found = judged(
        make_context(2), broken(node0=None, node1=["something before", line, "frame #0: x"])
    )
    assert brief(found) == [("fail", "node1")]
    assert line[:60] in found[0].message
    assert found[0].remedy is not None
    assert f"--only {check}`" in found[0].remedy.text


def test_secondary_failures_are_left_out_if_there_is_a_primary_one() -> None:
    echo = ["RuntimeError: Connection closed by peer [198.18.0.11]:5000"]
    found = judged(make_context(3), broken(node0=echo, node1=["MemoryError: no more"], node2=echo))
    assert brief(found) == [("fail", "node1")]
    assert "MemoryError: no more" in found[0].message
    alone = judged(make_context(3), broken(node0=echo, node1=None, node2=echo))
    assert brief(alone) == [("fail", "node0,node2")], "a secondary failure is better than none"


@pytest.mark.parametrize(
    "harmless",
    [
        "UserWarning: Failed to initialize NumPy: No module named 'numpy' (Triggered internally)",
        "[W] socket.cpp: The client socket has failed to connect: Connection refused",
        "node1:7:7 [0] NCCL INFO NCCL_IB_TIMEOUT set by environment to 22.",
    ],
)
def test_warning_is_not_the_cause(harmless: str) -> None:
    found = judged(
        make_context(2), broken(node0=None, node1=[harmless, "[rank1]: MemoryError: no more"])
    )
    assert "MemoryError: no more" in found[0].message
    assert found[0].remedy is not None
    assert "--only" not in found[0].remedy.text


def test_cause_of_a_vague_exception_is_an_earlier_line() -> None:
    lines = [
        "NCCL WARN Bootstrap : no socket interface found",
        "RuntimeError: NCCL error: internal",
    ]
    (failure,) = failures(broken(node0=lines).shares)
    assert failure.check == "nic.pick"


def test_output_of_the_launcher_counts_only_if_no_rank_started() -> None:
    output = {"launcher.err": ("ModuleNotFoundError: No module named 'torch'",)}
    (failure,) = failures([Share("node0", output=output, launcher=FAILED)])
    assert failure.check == "sw.versions"
    output = {"launcher.err": ("ConnectionError: Broken pipe",), "rank-0.err": ("ValueError: odd",)}
    (failure,) = failures([Share("node0", output=output, ranks={0: FAILED}, launcher=FAILED)])
    assert failure.line == "ValueError: odd"


def test_exception_counts_before_the_stack_after_it() -> None:
    lines = ["Traceback (most recent call last):", "ValueError: odd", "frame #1: main + 0x10"]
    (failure,) = failures(broken(node0=lines).shares)
    assert failure.line == "ValueError: odd"
    assert failure.meaning == "rank 0 exited with 1"


def test_rank_that_dies_without_output_is_reported_with_its_signal() -> None:
    share = Share("node1", ranks={1: ProcessEnd(None, 9)})
    (finding,) = judged(make_context(2), Gloo(world_size=2, shares=(Share("node0"), share)))
    assert "rank 1 was killed by SIGKILL" in finding.message


def test_launcher_that_fails_before_any_rank_is_reported() -> None:
    share = Share("node1", launcher=ProcessEnd(2, None))
    (finding,) = judged(make_context(2), Gloo(world_size=2, shares=(Share("node0"), share)))
    assert "the launcher exited with 2" in finding.message


def test_nodes_that_never_joined_are_reported_without_other_failures() -> None:
    shares = (Share("node0"), Share("node1"))
    (finding,) = judged(make_context(2), Gloo(world_size=2, shares=shares, missing={"node1": (1,)}))
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node1",))
    assert "never joined" in finding.message
    (finding,) = judged(make_context(2), Gloo(world_size=2, shares=shares))
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node0", "node1"))


def test_lost_node_is_incomplete() -> None:
    lost = Share("node1", problem="it was lost: node1: the connection broke")
    findings = judged(make_context(2), Gloo(world_size=2, shares=(Share("node0"), lost)))
    assert brief(findings) == [("incomplete", "node1")]


def test_crash_after_a_complete_trial_warns() -> None:
    shares = (Share("node0"), Share("node1", ranks={1: ProcessEnd(None, 6)}))
    findings = judged(make_context(2), well(2, shares=shares))
    assert brief(findings) == [("warn", "node1"), ("pass", "node0,node1")]
    assert "SIGABRT" in findings[0].message
