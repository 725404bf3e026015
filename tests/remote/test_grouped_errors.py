"""An error that many nodes share is one row with one command to paste."""

from __future__ import annotations

import errno
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import LaunchError, NodeError, Unreachable
from orchestrator.remote.grouped_errors import connect_error, group_verdicts, grouped_message
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.verdicts import Verdicts


def target(number: int, **more: object) -> Target:
    name = f"10.0.0.{number}"
    return replace(Target(label=name, hostname=name, port=22, user="ubuntu"), **more)  # type: ignore[arg-type]


def verdicts(number: int, **more: object) -> Verdicts:
    return Verdicts(f"node{number}", target(number, **more))


def refused(number: int, **more: object) -> Unreachable:
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
    return verdicts(number, **more).not_connected(error, 10.0)


def unknown(number: int) -> Unreachable:
    return verdicts(number).host_key_unknown("ssh-ed25519", f"SHA256:abc{number}")


def test_same_error_on_many_nodes_is_one_row() -> None:
    error = connect_error([refused(1), refused(2), refused(3)], 4)
    assert str(error).splitlines() == [
        "3 of 4 nodes cannot be reached; nothing was started",
        "node[1-3]: 10.0.0.[1-3] refuses connections: nothing listens on port 22 there",
        "  → start sshd on the node, or give the right port in the inventory",
    ]
    assert len(error.failures) == 3


def test_errors_that_differ_in_more_than_the_address_are_not_grouped() -> None:
    rows = group_verdicts([refused(1), refused(2, port=2222), unknown(3), refused(4)])
    assert [row.nodes for row in rows] == [("node1", "node4"), ("node2",), ("node3",)]


def test_single_verdict_is_unchanged() -> None:
    (row,) = group_verdicts([unknown(1)])
    assert str(row) == str(unknown(1))


LOOP = 'for host in ubuntu@10.0.0.1 ubuntu@10.0.0.2; do ssh "$host" true; done'
OR = "(or trust new hosts with --accept-new)"


def test_fingerprints_of_unknown_hosts_are_listed_below_one_row() -> None:
    (row,) = group_verdicts([unknown(1), unknown(2)])
    assert str(row).splitlines() == [
        "node[1-2]: the host key of 10.0.0.[1-2] is not known",
        "    node1  ssh-ed25519 SHA256:abc1",
        "    node2  ssh-ed25519 SHA256:abc2",
        f"  → compare the fingerprint, then connect once with: {LOOP} {OR}",
    ]


def test_command_to_paste_becomes_a_loop_that_a_shell_runs(tmp_path: Path) -> None:
    fake = tmp_path / "ssh"
    fake.write_text('#!/bin/sh\nprintf "<%s>" "$@"; echo\n')
    fake.chmod(0o755)
    failed = [
        verdicts(number, port=2222, user="o'hara").shell_failed("ended with code 1 instead", b"")
        for number in (1, 2)
    ]
    (row,) = group_verdicts(failed)
    line = row.remedy.removeprefix("check with: ").partition("; done")[0] + "; done"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "<-p><2222><o'hara@10.0.0.1></bin/sh -c true>",
        "<-p><2222><o'hara@10.0.0.2></bin/sh -c true>",
    ]


def test_gateway_that_reaches_no_node_is_reported_once_with_one_example() -> None:
    gateway = target(9, label="jump")
    refusal = Exception("Connection refused")
    failed = [verdicts(number).not_through(gateway, refusal) for number in (1, 2)]
    (row,) = group_verdicts(failed)
    assert row.message == "gateway jump cannot connect to 10.0.0.[1-2] (Connection refused)"
    assert row.remedy.endswith("'nc -vz 10.0.0.1 22'; the others in the same way")


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.EACCES, errno.EADDRNOTAVAIL])
def test_verdict_on_an_os_error_has_no_python_repr(number: int) -> None:
    error = OSError(number, "Connect call failed ('10.0.0.1', 22)")
    verdict = verdicts(1).not_connected(error, 10.0)
    assert "('" not in verdict.message
    assert "Errno" not in verdict.message


def test_node_names_in_the_remedy_are_folded() -> None:
    failed = [
        Unreachable(f"n{i}", "agent", "prints something", f"set `python:` of n{i}, not of n12")
        for i in (1, 2)
    ]
    (row,) = group_verdicts(failed)
    assert row.remedy == "set `python:` of n[1-2], not of n12"


def test_grouped_message_joins_the_same_errors() -> None:
    message = grouped_message(
        [
            NodeError("node0", "no room in /home", remedy="make room on node0"),
            NodeError("node1", "no room in /home", remedy="make room on node1"),
            NodeError("node2", "broken"),
            LaunchError("no node at all"),
        ]
    )
    assert message.splitlines() == [
        "node[0-1]: no room in /home",
        "  → make room on node[0-1]",
        "node2: broken",
        "no node at all",
    ]


TEXTS = st.text(alphabet="n1 :.→'\"$%[]x", max_size=20)


NAMES = st.text(alphabet="n1-._", min_size=1, max_size=4)


@given(st.lists(st.builds(Unreachable, NAMES, st.just("name"), TEXTS, TEXTS, TEXTS), max_size=6))
def test_every_node_is_in_exactly_one_group(failed: list[Unreachable]) -> None:
    rows = group_verdicts(failed)
    assert sorted(name for row in rows for name in row.nodes) == sorted(f.node for f in failed)
    assert not any("\0" in row.message + row.remedy for row in rows)
