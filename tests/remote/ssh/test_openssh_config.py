"""`ssh -G` is asked once for each name, in bounded time, and what it prints and refuses is understood."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from orchestrator.inventory import Host
from orchestrator.remote.ssh.config import ConfigParseError, Resolver
from orchestrator.remote.ssh.openssh_config import Openssh, parse

SSH = shutil.which("ssh") or ""
needs_ssh = pytest.mark.skipif(not SSH, reason="needs OpenSSH's client")


def program(folder: Path, script: str) -> Openssh:
    """Return an `ssh` that is a script; with `-F none` it prints nothing."""
    path = folder / "ssh"
    path.write_text(f'#!/bin/sh\n[ "$3" = none ] && exit 0\n{script}\n')
    path.chmod(0o700)
    return Openssh(str(path))


def test_parse_of_lists_keeps_blanks_in_names() -> None:
    printed = b"user me\nuserknownhostsfile /a /with blank/b\nidentityfile ~/k\nidentityfile /l m\n"
    printed += b"proxycommand a  b\n"
    assert parse(printed) == {
        "user": ("me",),
        "userknownhostsfile": ("/a", "/with blank/b"),
        "identityfile": ("~/k", "/l m"),
        "proxycommand": ("a  b",),
    }


async def test_login_of_the_inventory_is_passed_to_ssh(tmp_path: Path) -> None:
    openssh = program(tmp_path, 'echo "hostname $*"')
    settings = await openssh.ask("n1", "bob", 7)
    assert settings.words("hostname") == ("-G -l bob -p 7 -- n1",)


@needs_ssh
async def test_refused_configuration_is_reported_in_the_words_of_ssh(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("Host *\nFrobnicate yes\n")
    with pytest.raises(ConfigParseError, match=r"line 2: Bad configuration option: frobnicate\Z"):
        await Openssh(SSH, ("-F", str(file))).ask("n1", None, None)


async def test_ssh_that_does_not_answer_is_killed_with_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.openssh_config._TIMEOUT", 0.5)
    openssh = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(ConfigParseError, match=r"-- n1` did not answer within 0.5 s"):
        await openssh.ask("n1", None, None)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_background_process_of_a_condition_is_not_waited_for(tmp_path: Path) -> None:
    openssh = program(tmp_path, f"sleep 20 > /dev/null & echo $! > {tmp_path}/pid; echo user bob")
    async with asyncio.timeout(10):
        assert (await openssh.ask("n1", None, None)).word("user") == "bob"
    os.kill(int((tmp_path / "pid").read_text()), 9)


@needs_ssh
async def test_hosts_are_asked_about_at_once(home: Path, tmp_path: Path) -> None:
    file = home / ".ssh" / "config"
    file.write_text('Match exec "sleep 1"\n User bob\n')
    resolver = Resolver((file,), Openssh(SSH, ("-F", str(file))))
    start = time.monotonic()
    async with resolver:
        targets = await resolver.resolve_all([Host(name=f"n{number}") for number in range(12)])
    assert {target.user for target in targets} == {"bob"}
    assert time.monotonic() - start < 12


async def test_condition_without_ssh_runs_once_for_all_hosts(home: Path) -> None:
    file, count = home / ".ssh" / "config", home / "count"
    file.write_text(f'Match exec "echo %u >> {count}"\n User bob\n')
    async with Resolver((file,)) as resolver:
        resolver.openssh = None
        targets = await resolver.resolve_all([Host(name=f"n{number}") for number in range(12)])
    assert {target.user for target in targets} == {"bob"}
    assert len(count.read_text().splitlines()) == 1


async def test_certain_host_is_not_asked_about(home: Path, tmp_path: Path) -> None:
    file = home / ".ssh" / "config"
    file.write_text("Host n*\n HostName %h.lan # all\n User=bob\n IdentityFile ~/k-%r\n")
    openssh = program(tmp_path, f"touch {tmp_path}/asked; exit 1")
    async with Resolver((file,), openssh) as resolver:
        target = await resolver.resolve(Host(name="n1"))
    assert (target.hostname, target.user, target.identity_files) == (
        "n1.lan", "bob", (f"{home}/k-bob",),
    )  # fmt: skip
    assert not (tmp_path / "asked").exists()


@needs_ssh
@pytest.mark.parametrize("command", ["true", "false"])
async def test_place_of_a_setting_is_found_with_any_result_of_a_condition(
    home: Path, command: str
) -> None:
    file = home / ".ssh" / "config"
    negated = "!" * (command == "false")
    file.write_text(f"Match {negated}exec {command}\n StrictHostKeyChecking no\n")
    async with Resolver((file,), Openssh(SSH, ("-F", str(file)))) as resolver:
        target = await resolver.resolve(Host(name="n1"))
    assert target.accept_new == f"{file}:2"
