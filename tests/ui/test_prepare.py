"""Hosts in the same state share an entry, in lines that fit a terminal."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory import Host
from orchestrator.provision.hosts import HostState
from orchestrator.provision.probe import HostFacts
from orchestrator.provision.steps import Step
from orchestrator.ui.prepare import other_python, report

FOUND = HostFacts.parse("@prepare system=Debian 12\n@prepare python=3.11.2\n@prepare rsync=yes\n")
STEP = Step(("/opt/my venv/bin/python", "-m", "pip", "install", "torch"), "2.7 GB to download")


def states() -> list[HostState]:
    hosts = [Host(name=f"node{number}") for number in range(4)]
    return [
        HostState(hosts[0], FOUND, (STEP,)),
        HostState(hosts[1], FOUND, (STEP,)),
        HostState(hosts[2], problem="cannot be reached: its host key is not known: " + "see " * 20),
        HostState(hosts[3], FOUND),
    ]


def test_hosts_in_the_same_state_share_an_entry_with_commands() -> None:
    assert report(states(), 80).splitlines() == [
        "! node[0-1]: Debian 12 · Python 3.11.2 · no torch · rsync · no GPU",
        "    # 2.7 GB to download",
        "    '/opt/my venv/bin/python' -m pip install torch",
        "✗ node2: cannot be reached: its host key is not known: see see see see see see",
        "    see see see see see see see see see see see see see see",
        "✓ node3: ready: Debian 12 · Python 3.11.2 · no torch · rsync · no GPU",
    ]


def test_remote_text_has_no_escape_sequences() -> None:
    state = HostState(Host(name="node0"), problem="\x1b[2J gone")
    assert "\x1b" not in report([state], 80)


def test_other_python_is_shown_as_lines_for_the_inventory() -> None:
    text = other_python(Path("hosts.yaml"), 80)
    assert text.endswith("  defaults:\n    python: ~/orch/venv/bin/python\n")
