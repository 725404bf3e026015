"""NVIDIA's errors in a node's kernel log, in every form in which it can be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probes.kernel_log import Line, events, parse_kmsg, parse_text, xids

from ..recorded import shapes
from .conftest import AgentProcess


def brief(found: list[dict[str, Any]]) -> list[tuple[str, int, str, int]]:
    return [(e["kind"], e["code"], e["bus"], e["count"]) for e in found]


def of_dmesg(name: str, now: float = 4000.0) -> list[dict[str, Any]]:
    return events(parse_text(shapes.text(f"kernel-log/{name}.txt")), now)


def test_events_are_merged_by_code_and_device_latest_first() -> None:
    assert brief(of_dmesg("dmesg-xids")) == [
        ("Xid", 149, "0018:01:00", 1),
        ("Xid", 154, "0000:65:00", 1),
        ("Xid", 79, "0000:65:00", 1),
        ("Xid", 14, "0000:03:00", 1),
        ("Xid", 119, "0000:9b:00", 2),
        ("Xid", 94, "0000:b4:00", 1),
        ("Xid", 31, "0000:ca:00", 1),
        ("Xid", 109, "0000:cb:00", 1),
        ("Xid", 13, "0000:cb:00", 2),
        ("SXid", 12028, "0000:05:00", 1),
        ("SXid", 24007, "0000:c3:00", 2),
        ("Xid", 63, "0000:10:1c", 1),
    ]


def test_event_has_age_process_and_text() -> None:
    found = {event["code"]: event for event in of_dmesg("dmesg-xids")}
    assert found[119]["age"] == pytest.approx(840)
    assert (found[119]["pid"], found[119]["name"]) == (28232, "cache_mgr_main")
    assert (found[79]["pid"], found[79]["name"]) == (None, None)
    assert found[79]["text"].endswith("GPU has fallen off the bus.")
    assert found[154]["text"].endswith("to 0x2 (Node Reboot Required)")


def test_gpu_off_the_bus_is_xid_79_in_any_wording() -> None:
    (event,) = of_dmesg("dmesg-lost-without-xid")
    assert (event["code"], event["bus"]) == (79, "0000:b3:00")
    assert event["age"] == pytest.approx(4000 - 1843.308145)


def test_parse_text_reads_the_journal() -> None:
    assert brief(of_dmesg("journal", 60000.0)) == [
        ("Xid", 45, "0000:3b:00", 1),
        ("Xid", 48, "0000:3b:00", 1),
    ]


def test_parse_kmsg_of_records_with_fields_and_newlines() -> None:
    lines = parse_kmsg([shapes.text("kernel-log/kmsg.txt").encode()])
    assert lines[0].at == 0
    assert brief(events(lines, 58300.0)) == [
        ("Xid", 79, "0000:b3:00", 1),
        ("Xid", 95, "0000:3b:00", 1),
    ]


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_parsers_of_garbage_raise_nothing(records: list[bytes]) -> None:
    text = b"\n".join(records).decode("utf-8", "replace")
    for lines in (parse_kmsg(records), parse_text(text)):
        assert events(lines, 1.0) == []


@given(st.text(max_size=80), st.integers(0, 99999))
def test_text_after_an_xid_is_only_text(rest: str, code: int) -> None:
    line = f"NVRM: Xid (PCI:0000:01:00): {code}, {rest}"
    for event in events([Line(1.0, line)], 2.0):
        assert event["code"] == code
        assert len(event["text"]) <= 200


def test_events_of_a_flood_are_bounded() -> None:
    lines = [Line(float(i), f"NVRM: Xid (PCI:0000:01:00): {i}, x") for i in range(1000)]
    found = events(lines, 1000.0)
    assert len(found) == 64
    assert found[0]["code"] == 999


def test_xids_of_unreadable_log_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in (
        ("journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2"),
        ("dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1"),
    ):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert xids(str(tmp_path)) == {
        "source": None,
        "why": "/dev/kmsg: No such file or directory; journalctl: printed nothing; "
        "dmesg: dmesg: read kernel buffer failed: Operation not permitted",
        "whole": False,
        "events": [],
    }


def test_xids_without_kmsg_come_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journalctl"
    path.write_text(f"#!/bin/sh\ncat {Path(__file__).parent}/../recorded/kernel-log/journal.txt\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = xids(str(tmp_path))
    assert (found["source"], found["whole"]) == ("journal", True)
    assert {event["code"] for event in found["events"]} == {45, 48}


def test_agent_reads_kmsg_from_a_file(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text(shapes.text("kernel-log/kmsg.txt"))
    answer = agent.ask("check", limit=20, probes={"kernel_log.xids": {"root": str(tmp_path)}})
    found = answer["ok"]["kernel_log.xids"]["ok"]
    assert (found["source"], found["whole"]) == ("kmsg", True)
    assert {event["code"] for event in found["events"]} == {79, 95}
