"""The table of nodes: columns that align, fit, and harm nobody."""

from __future__ import annotations

import dataclasses
import ipaddress

from orchestrator.errors import Unreachable
from orchestrator.inventory import Host
from orchestrator.nodes import NodeReport
from orchestrator.plan import Facts, Interface
from orchestrator.ui.nodes import describe, lines

FACTS = Facts(
    hostname="n0",
    identity="x",
    uid=0,
    home="/home/ubuntu",
    python_version="3.11.7",
    cpus=64,
    gpus=8,
    rsync="/usr/bin/rsync",
    interfaces=(Interface("eth0", (ipaddress.ip_interface("198.18.0.10/24"),), None, False),),
    ssh_address=None,
    clock_skew=0.01,
    environment={},
)
GOOD = NodeReport(Host(name="n0"), FACTS, None, "eth0", "198.18.0.10", "198.18.0.0/24")
DEAD = NodeReport(
    Host(name="node-with-a-long-name", port=2222),
    None,
    Unreachable("node-with-a-long-name", "timed-out", "said nothing", "look"),
)


def with_facts(**changes: object) -> NodeReport:
    return dataclasses.replace(GOOD, facts=dataclasses.replace(FACTS, **changes))  # type: ignore[arg-type]


def test_off_a_terminal_columns_align_and_are_always_the_same() -> None:
    assert lines([GOOD]) == [
        "NODE  ADDRESS  PYTHON  CPUS  GPUS  NETWORK           RSYNC  CLOCK  HOME",
        "n0    n0       3.11.7  64    8     eth0 198.18.0.10  yes    ok     /home/ubuntu",
    ]
    heading, _, row = lines([GOOD, DEAD])
    assert heading.index("PYTHON") == row.index("✗ timed-out")


def test_columns_give_way_until_it_fits_and_are_named() -> None:
    heading, first, second, note = lines([GOOD, DEAD], width=80)
    assert max(map(len, (heading, first, second))) <= 80
    assert heading.split() == ["NODE", "PYTHON", "CPUS", "GPUS", "NETWORK", "RSYNC", "CLOCK"]
    assert note.startswith("(home, address: ")
    assert len(lines([GOOD, DEAD], width=160)) == 3


def test_what_is_remarkable_stands_out_and_never_gives_way() -> None:
    shown = lines([with_facts(clock_skew=-3.24, rsync=None)], width=60, colour=True)
    assert "\x1b[33m-3.2 s\x1b[0m" in shown[1]
    assert "\x1b[31mno\x1b[0m" in shown[1]
    assert "HOME" not in shown[0]


def test_a_small_skew_is_no_news() -> None:
    assert " ok " in lines([with_facts(clock_skew=0.5)])[1]


def test_what_nodes_say_cannot_steer_a_terminal() -> None:
    line = lines([with_facts(home="/\x1b]0;evil\x07", python_version="3\n4\u202e")])[1]
    assert line.isprintable()
    assert "/�]0;evil�" in line


def test_a_spare_is_told_apart() -> None:
    spare = dataclasses.replace(GOOD, host=Host(name="n1", spare=True))
    assert lines([GOOD, spare])[2].startswith("n1 (spare)  n1")
    assert [describe(report)["spare"] for report in (GOOD, spare)] == [False, True]


def test_json_always_has_the_same_keys() -> None:
    good, dead = describe(GOOD), describe(DEAD)
    assert list(good) == list(dead)
    assert (good["reachable"], good["gpus"], good["interface"]) == (True, 8, "eth0")
    assert (good["subnet"], good["problem"]) == ("198.18.0.0/24", None)
    assert (dead["reachable"], dead["gpus"], dead["rsync"]) == (False, None, None)
    assert dead["problem"] == {"cause": "timed-out", "message": "said nothing", "remedy": "look"}
