"""Containers and pods as nodes: what is run, and what is made of what the programs say.

The programs here are small scripts that print what Docker 28, Podman 4.3 and kubectl 1.32 print.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Unreachable, UsageError
from orchestrator.inventory import Host
from orchestrator.remote.command.transport import ProgramTransport
from orchestrator.remote.transports import SavedTransport, create, restore, saved

HOST = Host(name="node0", address="train-0")


def transport_of(name: str, **options: Any) -> ProgramTransport:
    transport = create(name, **options)
    assert isinstance(transport, ProgramTransport)
    return transport


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("docker", {}, "docker exec --interactive train-0 sh -c LINE"),
        ("docker", {"user": 1000}, "docker exec --interactive --user 1000 train-0 sh -c LINE"),
        ("podman", {"user": "ann"}, "podman exec --interactive --user ann train-0 sh -c LINE"),
        ("kubectl", {}, "kubectl exec --stdin --quiet train-0 -- sh -c LINE"),
        (
            "kubectl",
            {"namespace": "n", "context": "c", "container": "d"},
            "kubectl exec --stdin --quiet --namespace=n --context=c --container=d train-0 -- sh -c LINE",
        ),
    ],
)
def test_options_are_those_of_the_program(name: str, options: dict[str, Any], words: str) -> None:
    assert " ".join(transport_of(name, **options).argv(HOST, "LINE")) == words


def test_user_of_the_host_replaces_that_of_the_transport() -> None:
    argv = transport_of("docker", user="root").argv(Host(name="a", user="ann"), ":")
    assert argv[3:6] == ["--user", "ann", "a"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("docker", {}),
        ("podman", {"user": "1000", "timeout": 3.0}),
        ("kubectl", {"namespace": "ml", "context": None, "container": "main"}),
    ],
)
def test_transport_is_restored_from_json_as_it_was_saved(
    name: str, options: dict[str, Any]
) -> None:
    said = saved(create(name, **options))
    again = restore(SavedTransport(said.name, json.loads(json.dumps(said.options))))
    assert again.describe() == said.options
    assert type(again) is type(create(name))


@pytest.mark.parametrize("value", ["", "-x", "a\nb", ["x"], 1.5, True])
@pytest.mark.parametrize(("name", "option"), [("docker", "user"), ("kubectl", "namespace")])
def test_option_that_is_no_word_is_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"transport {name}: {option} is one line of text"):
        create(name, **{option: value})


DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
LOG = (
    "E1130 22:53:11.839144   31128 memcache.go:265] "
    '"Unhandled Error" err="couldn\'t get current server API group list"\n'
)


@pytest.mark.parametrize(
    ("name", "code", "said", "cause", "remedy"),
    [
        ("docker", 1, DAEMON, "program", "start its service"),
        (
            "docker", 1, "Error response from daemon: No such container: train-0",
            "container", "list the containers with: docker ps -a",
        ),
        (
            "docker", 1, "Error response from daemon: container 6ca0676c2e57 is not running",
            "container", "start it with: docker start train-0",
        ),
        (
            "docker", 1, ("Error response from daemon: Container train-0 is paused, unpause the container "
            "before exec"),
            "program", "docker unpause train-0",
        ),
        (
            "docker", 127, ("OCI runtime exec failed: exec failed: unable to start container process: "
            'exec: "sh": executable file not found in $PATH: unknown'),
            "shell", "orch needs a POSIX shell (sh) in train-0",
        ),
        (
            "docker", 1, ("permission denied while trying to connect to the Docker daemon socket at "
            "unix:///var/run/docker.sock"),
            "program", "run orch as a user who may use docker",
        ),
        (
            "podman", 125, 'Error: no container with name or ID "train-0" found: no such container',
            "container", "list the containers with: podman ps -a",
        ),
        (
            "podman", 255, ("Error: can only create exec sessions on running containers: container state "
            "improper"),
            "container", "start it with: podman start train-0",
        ),
        (
            "podman", 127, ("Error: crun: executable file `sh` not found in $PATH: No such file or "
            "directory: OCI runtime attempted to invoke a command that was not found"),
            "shell", "orch needs a POSIX shell (sh) in train-0",
        ),
        (
            "podman", 255, "Error: unable to find user bob: no matching entries in passwd file",
            "program", "set `user:` in the inventory",
        ),
        (
            "kubectl", 1, (f"{LOG}The connection to the server localhost:8080 was refused - did you "
            "specify the right host or port?"),
            "no-route", "kubectl cluster-info",
        ),
        (
            "kubectl", 1, "Error in configuration: context was not found for specified context: nope",
            "program", "kubectl config get-contexts",
        ),
        (
            "kubectl", 1, 'Error from server (NotFound): pods "train-0" not found',
            "container", "kubectl get pods --all-namespaces",
        ),
        (
            "kubectl", 1, 'Error from server (NotFound): namespaces "ml" not found',
            "program", "kubectl get namespaces",
        ),
        (
            "kubectl", 1, ("error: cannot exec into a container in a completed pod; current phase is "
            "Succeeded"),
            "container", "kubectl describe pod train-0",
        ),
        (
            "kubectl", 1, 'error: unable to upgrade connection: container not found ("main")',
            "program", "kubectl describe pod train-0",
        ),
        (
            "kubectl", 1, ('Error from server (Forbidden): pods "train-0" is forbidden: User "ann" cannot '
            'create resource "pods/exec" in API group "" in the namespace "ml"'),
            "authentication", "ask for the right to create pods/exec",
        ),
        (
            "kubectl", 1, "error: You must be logged in to the server (Unauthorized)",
            "authentication", "kubectl auth whoami",
        ),
    ],
)  # fmt: skip
async def test_message_of_the_program_has_a_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
    said: str,
    cause: str,
    remedy: str,
) -> None:
    program = tmp_path / name
    (tmp_path / "said").write_text(f"{said}\n")
    program.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'} >&2\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (verdict,) = await create(name).connect_all([HOST])
    assert isinstance(verdict, Unreachable)
    assert verdict.node == "node0"
    state = "is not running: " if cause == "container" else ""
    assert verdict.message == f"{state}{name} failed with code {code}: {said.removeprefix(LOG)}"
    assert (verdict.cause, remedy in verdict.remedy) == (cause, True), verdict


async def test_program_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (verdict,) = await create("kubectl").connect_all([HOST])
    assert isinstance(verdict, Unreachable)
    assert verdict.message == "there is no program kubectl on this machine"
    assert verdict.remedy == "install kubectl, or correct the PATH that orch runs with"
