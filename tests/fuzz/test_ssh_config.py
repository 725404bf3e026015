"""Any ssh_config file gives a target for a host, or a ConfigParseError."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.inventory import Host
from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import ConfigParseError, Resolver, Target
from orchestrator.remote.ssh.host_keys import Known
from tests.ssh_home import be_at_home

from .readers import contents, corpus, outcome, special_files

KEYWORDS = "Host Match Include User HostName Port ProxyCommand ProxyJump IdentityFile IdentityAgent"
KEYWORDS += " CertificateFile UserKnownHostsFile HostKeyAlias Ciphers AddressFamily Tag Frobnicate"
PIECES = (
    *(f"\n{keyword} ".encode() for keyword in KEYWORDS.split()),
    *(
        b"=",
        b'"',
        b"'",
        b"\\",
        b"#",
        b"!",
        b"*",
        b"?",
        b"%h",
        b"%",
        b"${HOME}",
        b"${",
        b"\0",
        b"\xff",
    ),
    *(
        b"host ",
        b"final ",
        b"all ",
        b"exec ",
        b"localnetwork ",
        b"n",
        b"none",
        b"config",
        b"~",
        b"/*",
    ),
)
NOTHING = Known((), (), (), ())


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set a separate home, and run no command of a Match."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        be_at_home(patch, home)
        patch.setattr("orchestrator.remote.ssh.config_files._exit_code", lambda command: 1)
        patch.setattr("orchestrator.remote.ssh.config_files._READ_TIMEOUT", 0.05)
        yield home


def resolve(host: Host, file: Path) -> Target:
    async def ask() -> Target:
        async with Resolver((file,)) as resolver:
            return await resolver.resolve(host)

    return asyncio.run(ask())


def resolve_hop(hop: str, file: Path) -> Target:
    return asyncio.run(Resolver((file,)).resolve_hop(hop, ()))


def read(content: bytes) -> None:
    file = Path(os.environ["HOME"], ".ssh", "config")
    file.write_bytes(content)
    for host in (Host(name="n"), Host(name="a" * 253, user="CORP\\ann", port=7)):
        target = outcome(lambda host=host: resolve(host, file), ConfigParseError)  # type: ignore[misc]
        if target is not None:
            assert 1 <= target.port <= 65535
            assert target.command("uptime").isprintable()
            assert target.endpoint.isprintable()
            assert all(map(str.isprintable, target.warnings))
            algorithms(target, NOTHING)
            for hop in (target.proxy_jump or "").split(",")[:3]:
                outcome(lambda hop=hop: resolve_hop(hop, file), ConfigParseError)  # type: ignore[misc]


@pytest.mark.parametrize("file", corpus("ssh_config"), ids=lambda file: file.name)
def test_file_of_the_corpus_gives_a_target_or_an_error(file: Path) -> None:
    read(file.read_bytes())


@given(contents("ssh_config", *PIECES))
def test_any_bytes_give_a_target_or_an_error(content: bytes) -> None:
    read(content)


def test_special_files_are_not_waited_for(tmp_path: Path) -> None:
    for thing in special_files(tmp_path / "d"):
        outcome(lambda thing=thing: resolve(Host(name="n"), thing), ConfigParseError)  # type: ignore[misc]
        if "\0" not in str(thing):
            read(f"Include {thing}\n".encode())
