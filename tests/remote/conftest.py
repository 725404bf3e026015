"""An empty home folder, real sshd servers on loopback, and hosts that reach them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inventory import Host
from tests.ssh_home import be_at_home

MakeHost = Callable[..., Host]
StartSshd = Callable[..., Any]


def _keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair with ssh-keygen; return the private file."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)  # between two checks
    pytest.fail("sshd did not start")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder with .ssh in it, without an SSH agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    be_at_home(monkeypatch, folder)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def keygen() -> Callable[..., Path]:
    """Make a key pair: path, kind, passphrase -> the private file."""
    return _keygen


@pytest.fixture
def make_host() -> MakeHost:
    def make(
        name: str = "node",
        address: str = "127.0.0.1",
        port: int | None = None,
        user: str | None = None,
        identity_file: str | None = None,
        known_hosts: str | None = None,
        proxy_jump: str | None = None,
    ) -> Host:
        return Host(
            name=name,
            address=address,
            port=port,
            user=user,
            identity_file=identity_file,
            known_hosts=known_hosts,
            proxy_jump=proxy_jump,
            python="python3",
            workdir="~",
            devices="auto",
            env={},
            launcher=None,
        )

    return make


@dataclass
class Sshd:
    """A running sshd and the files it reads."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    host_keys: list[Path] = field(default_factory=list)

    def known_hosts_line(self, key: Path | None = None) -> str:
        public = Path(f"{key or self.host_keys[0]}.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n"


@pytest.fixture
def start_sshd(tmp_path: Path, home: Path) -> Iterator[StartSshd]:
    """Start real OpenSSH servers that accept ~/.ssh/id_ed25519 of `home`."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if os.geteuid() != 0 or program is None:
        pytest.skip("needs root and OpenSSH's sshd")
    Path("/run/sshd").mkdir(exist_ok=True)
    client = home / ".ssh" / "id_ed25519"
    _keygen(client)
    started: list[Sshd] = []

    def start(*config: str, kinds: tuple[str, ...] = ("ed25519",), port: int = 0) -> Sshd:
        folder = tmp_path / f"sshd{len(started)}"
        folder.mkdir()
        keys = [_keygen(folder / f"host_{kind}", kind) for kind in kinds]
        shutil.copy(f"{client}.pub", folder / "authorized_keys")
        port = port or _free_port()
        lines = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "MaxStartups 100",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            *(f"HostKey {key}" for key in keys),
            *config,
        ]
        (folder / "config").write_text("\n".join(lines).replace("FOLDER", str(folder)) + "\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(folder / "config")], stderr=log
            )
        _await_listening(process, port)
        server = Sshd(port, folder, process, keys)
        started.append(server)
        return server

    yield start
    for server in started:
        server.process.terminate()
        server.process.wait(10)


@pytest.fixture
def trusted_sshd(start_sshd: StartSshd, home: Path) -> StartSshd:
    """Start an sshd whose host key is already in ~/.ssh/known_hosts."""

    def start(*config: str, kinds: tuple[str, ...] = ("ed25519",)) -> Sshd:
        server: Sshd = start_sshd(*config, kinds=kinds)
        with (home / ".ssh" / "known_hosts").open("a") as file:
            file.write(server.known_hosts_line())
        return server

    return start
