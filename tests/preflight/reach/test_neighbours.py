"""The check of the kernel's table of neighbours, and its remedy as a shell reads it."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight.model import Context, NoAnswer
from orchestrator.preflight.reach.neighbours import (
    NEIGHBOURS,
    Neighbours,
    check_neighbours,
    widen,
)

from ..contexts import brief, make_context

CHECK = check_neighbours.verdict
USUAL = Neighbours(soft=512, room=1024, entries=9, fulls=0)


def with_table(nodes: int, table: Neighbours | NoAnswer) -> Context:
    made = make_context(nodes)
    return replace(made, answers={NEIGHBOURS.name: dict.fromkeys(made.names, table)})


@pytest.mark.parametrize(
    ("nodes", "more", "status", "says"),
    [
        (2, {}, "pass", "room for 1024"),
        (200, {"room": 8192, "soft": 4096}, "pass", "room for 8192"),
        (200, {"room": 199}, "fail", "room for 199 neighbours (gc_thresh3), and 199 other nodes"),
        (200, {"room": 256, "entries": 100}, "warn", "up to 100 are in use"),
        (200, {"soft": 128}, "warn", "keeps 128 neighbours"),
        (2, {"room": None}, "skip", "as containers do not"),
        (3, {"entries": 9000}, "pass", "room for 1024"),
    ],
)
def test_table_is_judged_by_the_nodes_in_the_subnet(
    nodes: int, more: dict[str, Any], status: str, says: str
) -> None:
    (finding,) = CHECK(with_table(nodes, replace(USUAL, **more)))
    assert finding.status == status
    assert says in finding.message
    assert (finding.remedy is not None) == (status in ("fail", "warn"))


def test_table_that_did_not_answer_is_incomplete() -> None:
    assert brief(CHECK(with_table(2, NoAnswer("it timed out")))) == [("incomplete", "node0,node1")]


@pytest.mark.parametrize(("nodes", "room"), [(2, 4096), (1024, 4096), (2048, 8192), (9000, 32768)])
def test_remedy_has_room_for_twice_the_nodes(nodes: int, room: int) -> None:
    write, apply = widen(nodes).commands
    assert f"gc_thresh3={room} " in write
    assert room >= 2 * nodes
    assert apply.split()[-1] == write.split()[-1]


def test_remedy_writes_what_sysctl_reads(tmp_path: Path) -> None:
    file = tmp_path / "limits.conf"
    write = widen(1024, version=6).commands[0].rpartition(">")[0]
    subprocess.run(["sh", "-c", f"{write}> {shlex.quote(str(file))}"], check=True, timeout=30)
    assert file.read_text().splitlines() == [
        "net.ipv6.neigh.default.gc_thresh1=1024",
        "net.ipv6.neigh.default.gc_thresh2=2048",
        "net.ipv6.neigh.default.gc_thresh3=4096",
    ]
