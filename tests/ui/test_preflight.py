"""The preflight report: problems stand out, commands can be copied, remote text is safe."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyte
import pytest

from orchestrator.preflight.model import Finding, Group, Level, Status
from orchestrator.preflight.reach.attempts import Outcome, Way
from orchestrator.preflight.reach.reachability import Reachability
from orchestrator.preflight.report import Report
from orchestrator.ui.preflight import as_json, plain
from orchestrator.ui.preflight_screen import screen

from ..preflight.contexts import plan_names
from .reports import failed, passed, report, result

LONG = "only the main port is open: the ephemeral ports, which NCCL and gloo use, are closed to all"
NFT = (
    "nft insert rule inet filter input ip saddr 198.18.0.0/24 tcp dport { 29500, 32768-60999 } "
    "counter accept comment orch"
)
HOSTILE = "\x1b]0;evil\x07\x1b[2J [bold]tag[/bold] \u202egnp.exe\r\n\tpass  all  fake \ud800\x9b31m"


def shown(text: str, width: int) -> list[str]:
    """Return the lines of a terminal of `width` columns that `text` was written to."""
    terminal = pyte.Screen(width, 300)
    pyte.Stream(terminal).feed(text.replace("\n", "\r\n"))
    return [line.rstrip() for line in terminal.display[: terminal.cursor.y]]


def colourless(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def mixed() -> Report:
    return report(
        result(
            "ssh.reach",
            passed("all 16 nodes answered, the slowest of them after no less than 3.1 s"),
        ),
        result("host.linger", failed("no answer within 20 s", "node2", status=Status.INCOMPLETE)),
        result(
            "net.tcp",
            failed(LONG, *plan_names(16)[3:8], text="let the others in", commands=[NFT]),
            passed("reaches and is reached"),
            group=Group.REACHABILITY,
        ),
        result(
            "nic.mtu",
            failed(
                "MTU 1500, others 9000",
                "node0",
                status=Status.WARN,
                text="set it",
                commands=["ip l"],
            ),
            group=Group.INTERFACE,
        ),
        result("gpu", failed("no GPU", *plan_names(16), status=Status.SKIP), group=Group.GPU),
        result("gpu.ecc", failed("no GPU", *plan_names(16), status=Status.SKIP), group=Group.GPU),
        nodes=16,
    )


@pytest.mark.parametrize("width", [80, 160])
def test_only_commands_are_wider_than_the_terminal(width: int) -> None:
    lines = colourless(screen(mixed(), 4.23, width, verbose=True)).splitlines()
    assert [line for line in lines if len(line) > width] == (
        [f"      {NFT}"] if width == 80 else []
    )


def test_command_is_one_whole_line_in_a_narrow_terminal() -> None:
    assert f"\n      {NFT}\n" in colourless(screen(mixed(), 4.23, 72, verbose=True))


def test_table_is_grouped_and_names_are_folded() -> None:
    lines = shown(screen(mixed(), 4.23, 80, verbose=True), 80)
    titles = [line for line in lines if line in {group.value for group in Group}]
    assert titles == ["SSH and host", "Reachability", "Interface and MTU", "GPU"]
    assert any(
        line.startswith("  ✗ fail        net.tcp      node[3-7]  only the main") for line in lines
    )


def test_passes_take_one_line_and_problems_are_never_cut() -> None:
    lines = shown(screen(mixed(), 4.23, 80, verbose=True), 80)
    first = lines.index("SSH and host")
    assert lines[first + 1].endswith("…")
    assert lines[first + 2].startswith("  ? incomplete  host.linger")
    text = " ".join(line[37:].strip() for line in lines)
    assert LONG in text


def test_checks_skipped_for_the_same_reason_share_a_row() -> None:
    (line,) = [
        line for line in shown(screen(mixed(), 4.23, 80, verbose=True), 80) if "skip " in line
    ]
    assert line.split() == ["-", "skip", "2", "checks", "all", "no", "GPU:", "gpu,", "gpu.ecc"]


def test_fixes_come_last_ordered_by_severity() -> None:
    lines = shown(screen(mixed(), 4.23, 160, verbose=True), 160)
    assert lines[lines.index("! nic.mtu: set it") :] == [
        "! nic.mtu: set it",
        "  on node0:",
        "      ip l",
        "",
        "✗ net.tcp: let the others in",
        "  on node[3-7]:",
        f"      {NFT}",
        "",
        "✗ 1 fail, 1 incomplete, 1 warn, 2 skip, 1 pass in 4.2 s (16 nodes, full)",
    ]


def test_passed_checks_have_a_row_each() -> None:
    checks = [result(f"check{number}", passed("fine", 2)) for number in range(30)]
    lines = shown(screen(report(*checks, nodes=2), 0.5, 80, verbose=True), 80)
    assert len(lines) == 1 + 30 + 2
    assert lines[-1] == "✓ 30 pass in 0.5 s (2 nodes, full)"


@pytest.mark.parametrize("width", [72, 80, 160])
def test_healthy_cluster_is_one_line_unless_verbose(width: int) -> None:
    checks = [result(f"check{number}", passed("fine", 2)) for number in range(30)]
    text = screen(report(*checks, nodes=2), 0.5, width)
    assert shown(text, width) == ["✓ 30 pass in 0.5 s (2 nodes, full; -v shows all)"]
    assert list(plain(report(*checks, nodes=2), 0.5)) == [
        "30 pass in 0.5 s (2 nodes, full; -v shows all)"
    ]


def test_only_problems_are_shown_unless_verbose() -> None:
    lines = shown(screen(mixed(), 4.23, 160), 160)
    assert lines[: lines.index("")] == [
        "SSH and host",
        "  ? incomplete  host.linger  node2      no answer within 20 s",
        "Reachability",
        f"  ✗ fail        net.tcp      node[3-7]  {LONG}",
        "Interface and MTU",
        "  ! warn        nic.mtu      node0      MTU 1500, others 9000",
    ]
    assert lines[-1].endswith("(16 nodes, full; -v shows all)")
    assert [line.split()[0] for line in plain(mixed(), 4.23)][:3] == ["incomplete", "fail", "warn"]


def test_many_names_break_after_commas() -> None:
    scattered = plan_names(64)[::3]
    lines = shown(screen(report(result("a", failed("m", *scattered)), nodes=64), 1, 80), 80)
    column = [line[13:33].strip() for line in lines[1 : lines.index("")]]
    assert "".join(column) == f"node[{','.join(str(n) for n in range(0, 64, 3))}]"
    assert all(line.endswith(",") for line, _ in pairwise(column))


@pytest.mark.parametrize("width", [80, 160])
def test_remote_text_cannot_move_the_cursor_or_fake_a_line(width: int) -> None:
    finding = failed(HOSTILE, "node1", text=HOSTILE, commands=[f"rm 'a{HOSTILE}'"])
    for text in (
        colourless(screen(report(result("a", finding)), 1, width)),
        "\n".join(plain(report(result("a", finding)), 1)),
    ):
        assert all(line.isprintable() for line in text.splitlines())
        assert r"\x1b]0;evil\x07" in text
        assert "[bold]tag[/bold]" in text
        assert r"\u202e" in text
        assert not any(line.startswith("pass") for line in text.splitlines())


def test_wide_characters_fit_the_terminal() -> None:
    finding = failed("日本語のメッセージはとても長い" * 6, "node1")
    lines = shown(screen(report(result("a", finding)), 1, 80), 80)
    assert "".join(line[20:] for line in lines[1:-2]).replace(" ", "").count("日本語") == 6


def test_pipe_gets_a_line_per_finding_without_colour() -> None:
    lines = list(plain(mixed(), 4.23, verbose=True))
    assert lines[2:4] == [
        f"fail        net.tcp      node[3-7]  {LONG}",
        "pass        net.tcp      node[0-2]  reaches and is reached",
    ]
    assert lines[7:] == [
        "→ nic.mtu: set it (on node0)",
        "      ip l",
        "→ net.tcp: let the others in (on node[3-7])",
        f"      {NFT}",
        "1 fail, 1 incomplete, 1 warn, 2 skip, 1 pass in 4.2 s (16 nodes, full)",
    ]


SHOW = """
from orchestrator.ui.preflight import show
from tests.ui.test_preflight import mixed
show(mixed(), 4.23, "text")
"""


def written_to_a_terminal(**more: str) -> str:
    """Return what `show` writes if stdout is a terminal of 80 columns."""
    leader, follower = pty.openpty()
    root = Path(__file__).parents[2]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80", **more}
    with os.fdopen(leader, "rb", buffering=0) as reader:
        child = subprocess.Popen(
            [sys.executable, "-c", SHOW], stdout=follower, cwd=root, env=environment
        )
        os.close(follower)
        written = b""
        while True:
            try:
                chunk = reader.read(1 << 16)
            except OSError:  # EIO: the other side is closed
                break
            if not chunk:
                break
            written += chunk
        assert child.wait(30) == 0
    return written.decode()


def test_terminal_gets_colour_unless_no_color_is_set() -> None:
    assert re.search("\x1b\\[[0-9;]*31m✗ fail", written_to_a_terminal())
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", written_to_a_terminal(NO_COLOR="1"))


def test_narrow_terminal_gets_plain_lines() -> None:
    text = written_to_a_terminal(COLUMNS="40")
    assert text.splitlines() == list(plain(mixed(), 4.23))


def test_json_has_an_entry_for_each_finding() -> None:
    document = as_json(mixed(), 4.23456)
    assert (document["status"], document["level"], document["seconds"]) == ("fail", "full", 4.235)
    assert len(document["checks"]) == 7
    assert document["checks"][2] == {
        "id": "net.tcp",
        "group": "Reachability",
        "status": "fail",
        "nodes": ["node3", "node4", "node5", "node6", "node7"],
        "message": LONG,
        "remedy": {
            "text": "let the others in",
            "commands": [NFT],
            "nodes": ["node3", "node4", "node5", "node6", "node7"],
            "as_root": True,
        },
        "data": {},
    }
    assert document["checks"][1]["remedy"] is None


def reached(*ways: tuple[str, str, float], **more: Any) -> Report:
    """Return a report with these round trips in seconds."""
    outcomes = {Way(a, b, "ephemeral"): Outcome("ok", seconds) for a, b, seconds in ways}
    return report(result("a", passed()), measured={Reachability: Reachability(outcomes)}, **more)


def test_matrices_are_above_the_table() -> None:
    found = reached(("node0", "node1", 1e-4), ("node1", "node0", 2e-3), nodes=2)
    assert shown(screen(found, 1, 80, verbose=True), 80)[:5] == [
        "round trip of a connection in µs, from row to column; usual is 100",
        "          0     1",
        "node0     \\   100",
        "node1  2000     \\",
        "",
    ]
    quick = reached(("node0", "node1", 1e-4), nodes=2, level=Level.QUICK)
    assert shown(screen(quick, 1, 80, verbose=True), 80)[0] == "SSH and host"


def test_json_has_pairwise_measurements() -> None:
    found = reached(("node0", "node1", 1e-4), ("node1", "node0", math.nan), ("node1", "node2", 0.5))
    assert as_json(found, 1)["pictures"] == {
        "latency_seconds": {"node0": {"node1": 1e-4}, "node1": {"node2": 0.5}}
    }


def test_json_of_nan_is_valid(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from orchestrator.ui.preflight import show

    data = {"node0": {"skew": float("nan"), "all": [float("inf"), 1.5]}, "x": "\udcff\x00"}
    show(report(result("a", Finding(Status.FAIL, ("node0",), HOSTILE, None, data))), 1, "json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (entry,) = json.loads(capfdbinary.readouterr().out.decode("ascii"), parse_constant=refuse)[
        "checks"
    ]
    assert entry["message"] == HOSTILE
    assert entry["data"] == {"node0": {"skew": None, "all": [None, 1.5]}, "x": "\udcff\x00"}
