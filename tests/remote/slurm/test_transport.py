"""Options of the transport `srun`, and its verdicts without Slurm."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.errors import Unreachable, UsageError
from orchestrator.inventory import Host
from orchestrator.remote.slurm.transport import SrunTransport
from orchestrator.remote.transports import create, restore, saved

HOSTS = [Host(name="node0"), Host(name="node1")]


def test_transport_without_a_job_takes_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    transport = create("srun", timeout=3.0)
    assert isinstance(transport, SrunTransport)
    assert transport.describe() == {"job": "17", "timeout": 3.0}


def test_transport_outside_of_jobs_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UsageError, match="transport srun: this is no job of Slurm"):
        create("srun")


@pytest.mark.parametrize("job", ["1; id", "--all", 3.5, True, ["1"]])
def test_transport_refuses_what_is_no_job(job: object) -> None:
    with pytest.raises(UsageError, match="transport srun: "):
        create("srun", job=job)


def test_restored_transport_is_for_the_same_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    restored = restore(saved(create("srun", job=17)))
    assert isinstance(restored, SrunTransport)
    assert restored.job == "17"


async def test_connect_all_without_srun_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "setsid").symlink_to("/usr/bin/setsid")
    monkeypatch.setenv("PATH", str(tmp_path))
    results = await SrunTransport("17").connect_all(HOSTS)
    for host, result in zip(HOSTS, results, strict=True):
        assert isinstance(result, Unreachable)
        assert (result.node, result.cause) == (host.name, "slurm")
        assert result.message == "there is no srun on this machine"


async def test_connect_all_with_refused_step_has_the_words_of_srun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "srun"
    program.write_text("#!/bin/sh\necho 'srun: error: Invalid job id specified' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    seen: list[str] = []
    transport = SrunTransport("17")
    results = await transport.connect_all(HOSTS, on_result=lambda name, *_: seen.append(name))
    assert sorted(seen) == ["node0", "node1"]
    assert isinstance(results[0], Unreachable)
    expected = "srun starts no step there: srun: error: Invalid job id specified"
    assert (results[0].message, "job 17" in results[0].remedy) == (expected, True)


def test_transport_through_a_login_host_is_restored_with_it() -> None:
    transport = create("srun", job=17, login="me@login:2222", accept_new=True, release=True)
    said = saved(transport)
    assert said.options == {
        "job": "17", "release": True, "login": "me@login:2222", "accept_new": True, "timeout": 10.0,
    }  # fmt: skip
    assert restore(said).describe() == said.options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"login": ""}, "login is a host as ssh takes it"),
        ({"login": "a b"}, "login is a host as ssh takes it"),
        ({"login": "-oProxyCommand=id"}, "login is a host as ssh takes it"),
        ({"login": "login[1-2]"}, "login is one host, not 2"),
        ({"login": 5}, "login is a host as ssh takes it"),
        ({"login": ["login"]}, "login is a host as ssh takes it"),
        ({"accept_new": True}, "accept_new goes with login"),
        ({"login": "login", "accept_new": 1}, "accept_new is true or false"),
    ],
)
def test_transport_refuses_what_is_no_login_host(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create("srun", job=17, **options)


async def test_connect_all_through_an_unreachable_login_host_names_it() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with create("srun", job=17, login=f"127.0.0.1:{port}") as transport:
            results = await transport.connect_all(HOSTS)
    for host, result in zip(HOSTS, results, strict=True):
        assert isinstance(result, Unreachable)
        assert (result.node, result.cause) == (host.name, "gateway")
        assert f"its gateway 127.0.0.1 cannot be reached: 127.0.0.1 port {port}" in result.message
