"""What a person's files say about hosts is a value or one clear message, and never a command."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from .orch import Orch

AT_HOME = Path(__file__).parent / "at_home.py"


def configured(home: Path, config: str) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text(config)


@pytest.mark.parametrize(
    "host",
    [
        "{name: a, user: '$(touch pwned)'}",
        "{name: a, user: '`touch pwned`'}",
        "{name: a, user: 'x;touch pwned'}",
        "{name: a, user: '${SECRET}'}",
        "{name: a, user: '-oProxyCommand=touch pwned'}",
        "{name: a, proxy_jump: '$(touch pwned)@gate'}",
        "{name: a, proxy_jump: '${SECRET}@gate'}",
        "{name: a, address: '$(touch pwned)'}",
    ],
)
def test_user_or_host_with_shell_characters_never_reaches_a_proxy_command(
    tmp_path: Path, orch: Orch, host: str
) -> None:
    configured(tmp_path, "ProxyCommand echo %r %h %n >&2; touch ran; exit 1\n")
    (tmp_path / "hosts.yaml").write_text(f"hosts: [{host}]\n")
    done = orch("nodes", SECRET="hunter2", HOME=str(tmp_path), prelude=AT_HOME)
    assert done.returncode == 2
    assert "hosts.yaml:1:" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "ran").exists()


def test_user_with_a_domain_reaches_a_proxy_command_as_one_word(tmp_path: Path, orch: Orch) -> None:
    configured(tmp_path, "ProxyCommand printf %%s '%r' > user; exit 1\n")
    (tmp_path / "hosts.yaml").write_text("hosts: [{name: a, user: 'CORP\\ann'}]\n")
    assert orch("nodes", HOME=str(tmp_path), prelude=AT_HOME).returncode == 125
    assert (tmp_path / "user").read_text() == "CORP\\ann"


def test_ssh_config_that_includes_itself_is_an_error_with_its_line(
    tmp_path: Path, orch: Orch
) -> None:
    configured(tmp_path, "Host a\n Include config\n")
    (tmp_path / "hosts.yaml").write_text("hosts: [a]\n")
    done = orch("nodes", HOME=str(tmp_path), prelude=AT_HOME)
    assert done.returncode == 2
    assert ".ssh/config:2: files include each other more than 16 deep" in done.stderr
    assert "bug in orch" not in done.stderr


@pytest.mark.parametrize("kind", ["folder", "socket", "device", "terminal-less", "escape"])
def test_inventory_of_another_kind_is_one_message(tmp_path: Path, orch: Orch, kind: str) -> None:
    file = tmp_path / "hosts.yaml"
    named = {"device": "/dev/zero", "terminal-less": "/dev/tty"}.get(kind, str(file))
    if kind == "folder":
        file.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(file))
    else:
        file.write_text('hosts: ["\\UFFFFFFFF"]\n')
    done = orch("nodes", ORCH_INVENTORY=named)
    assert done.returncode == 2
    assert done.stderr.startswith(f"orch: {named}")
    assert "bug in orch" not in done.stderr
