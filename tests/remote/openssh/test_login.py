"""The options that orch passes to ssh mean what the inventory says, by ssh's own account."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.remote.openssh.login import Gateway, Login, alive_options, quoted
from orchestrator.remote.ssh.config import Target


def by_ssh(*words: str) -> dict[str, list[str]]:
    """Return the settings that ssh reads from its arguments."""
    done = subprocess.run(
        ["ssh", "-F", "none", "-G", *words], check=True, capture_output=True, text=True, timeout=30
    )
    settings: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        settings.setdefault(keyword, []).append(value)
    return settings


@pytest.mark.parametrize(
    "name", ["plain", "with space", "%h", "100%", "quo'te", "#tag", "a=b", "käse", "a,b", "-x"]
)
def test_file_names_are_literal(tmp_path: Path, name: str) -> None:
    file = str(tmp_path / name)
    found = by_ssh("-o", quoted("UserKnownHostsFile", file, "/other"), "host")
    # ssh -G prints the tokens of this keyword expanded.
    assert found["userknownhostsfile"] == [f"{file} /other"]


@pytest.mark.parametrize("silence", [0.5, 1.5, 2, 3, 5, 10, 30, 60])
def test_silence_is_detected_within_the_limit_or_two_seconds(silence: float) -> None:
    found = by_ssh(*(word for option in alive_options(silence) for word in ("-o", option)), "host")
    interval, probes = (int(found[f"serveralive{each}"][0]) for each in ("interval", "countmax"))
    assert interval >= 1
    assert probes >= 1  # 0 turns it off
    assert interval * (probes + 1) <= max(2, silence)
    assert interval * (probes + 1) > silence / 2


def test_options_of_a_login_precede_the_host_and_go_through_its_gateway() -> None:
    gateway = Gateway(Target("gate", "10.0.0.1", 22, "me"), Path("/tmp/o/gate 1"))
    login = Login(Target("node", "10.0.0.2", 22, "me"), ("User=you", "Port=2200"), gateway)
    found = by_ssh(*login.words())
    assert (found["user"], found["port"], found["hostname"]) == (["you"], ["2200"], ["node"])
    (command,) = found["proxycommand"]
    assert "-S '/tmp/o/gate 1' -W '[%h]:%p' -- gate" in command
    assert "BatchMode=yes" in command
