"""Each remedy once, with commands that work for the login that pastes them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.fixes import Commands, fixes_of, with_sudo
from orchestrator.preflight.model import Status
from orchestrator.util.quoting import command_line
from tests.ui.reports import failed, report, result


def test_findings_with_one_remedy_share_a_fix_for_all_their_nodes() -> None:
    (fix,) = fixes_of(
        report(
            result("net.tcp", failed("closed", "node1", text="open it", commands=["nft x"])),
            result(
                "net.mtupath",
                failed("no way", "node2", "node1", text="open it", commands=["nft x"]),
            ),
        ),
        Status.FAIL,
    )
    assert fix.ids == ("net.tcp", "net.mtupath")
    assert fix.commands == (Commands(("node1", "node2"), ("nft x",)),)


def test_one_remedy_with_different_commands_by_node_is_one_fix() -> None:
    (fix,) = fixes_of(
        report(
            result(
                "host.name",
                failed("is loopback", "node0", text="name it", commands=["echo 10"]),
                failed("is loopback", "node1", text="name it", commands=["echo 11"]),
            )
        ),
        Status.FAIL,
    )
    assert fix.commands == (Commands(("node0",), ("echo 10",)), Commands(("node1",), ("echo 11",)))


def test_commands_have_sudo_unless_the_login_is_root() -> None:
    finding = failed("small", "node0", "node1", "node9", text="larger", commands=["mount x"])
    (fix,) = fixes_of(report(result("shm", finding), facts_of={1: {"uid": 1000}}), Status.FAIL)
    assert fix.commands == (
        Commands(("node0",), ("mount x",)),
        Commands(("node1", "node9"), ("sudo mount x",)),  # the login of node9 is not known
    )


def test_commands_for_the_login_have_no_sudo() -> None:
    finding = failed("no torch", "node1", text="install it", commands=["pip install torch"])
    assert finding.remedy is not None
    mine = replace(finding, remedy=replace(finding.remedy, as_root=False))
    (fix,) = fixes_of(report(result("sw", mine), facts_of={1: {"uid": 1000}}), Status.FAIL)
    assert fix.commands == (Commands(("node1",), ("pip install torch",)),)


def test_commands_without_nodes_are_for_those_of_the_finding() -> None:
    finding = failed("closed", "node1", text="open it", commands=["nft x"], on=())
    (fix,) = fixes_of(report(result("net.tcp", finding)), Status.FAIL)
    assert fix.commands == (Commands(("node1",), ("nft x",)),)


def test_findings_without_a_remedy_are_separate() -> None:
    found = fixes_of(report(result("a", failed("x", "node0"), failed("y", "node1"))), Status.FAIL)
    assert [fix.text for fix in found] == [None, None]


def test_fixes_are_only_of_the_given_statuses() -> None:
    warning = result("a", failed("x", "node0", status=Status.WARN, text="t"))
    assert fixes_of(report(warning), Status.FAIL) == []
    assert [fix.status for fix in fixes_of(report(warning), Status.WARN)] == [Status.WARN]


@pytest.mark.parametrize(
    "command",
    [
        "ufw allow from 10.0.0.0/16 to any port 29500,32768:60999 proto tcp",
        'sysctl -w net.ipv4.ip_local_port_range="32768 60999"',
        "nft insert rule inet filter input tcp dport { 29500, 32768-60999 } accept",
        "echo 'a > b | c'",
    ],
)
def test_sudo_before_plain_words_leaves_them_unchanged(command: str) -> None:
    assert with_sudo(command) == f"sudo {command}"
    assert with_sudo(f"sudo {command}") == f"sudo {command}"


@pytest.fixture
def sudo(tmp_path: Path) -> dict[str, str]:
    """An environment with a sudo that sets a variable and runs the rest."""
    program = tmp_path / "sudo"
    program.write_text('#!/bin/sh\nWHO=root exec "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "WHO": "me"}


def output(line: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "printenv WHO",
        "printenv WHO | cat",
        'echo "$WHO"',
        "echo a; printenv WHO",
        "true && printenv WHO",
        "echo $(printenv WHO) `printenv WHO`",
        "(printenv WHO)",
        "printenv WHO > out.txt; cat out.txt; rm out.txt",
        """sh -c 'echo "it'"'"'s $WHO"'""",
        "echo / *[b]in",
    ],
)
def test_sudo_applies_to_the_whole_line(
    command: str, sudo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert output(with_sudo(command), sudo) == output(command, {**sudo, "WHO": "root"})


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)
)
def test_quoted_words_are_plain_words(words: list[str]) -> None:
    assert with_sudo(command_line(["printf", *words])).startswith("sudo printf")
