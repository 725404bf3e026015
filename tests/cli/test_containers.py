"""Containers as nodes, with real Podman, and with Docker if a daemon answers.

ORCH_CONTAINERS=podman,docker requires both.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit.containers import Containers, missing

from tests.warm import Warm

from .orch import Orch

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RENDEZVOUS = """
import os, socket, sys, time
rank, place = os.environ["RANK"], (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == "0":
    server = socket.create_server(place)
    peer, _ = server.accept()
    print("met", peer.recv(99).decode(), "on", socket.gethostname(), flush=True)
else:
    while True:
        try:
            peer = socket.create_connection(place, 5)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    peer.sendall(socket.gethostname().encode())
if "wait" in sys.argv:
    time.sleep(600)
if "fail" in sys.argv and rank == "1":
    sys.exit(7)
if "fail" in sys.argv:
    time.sleep(600)
"""


@pytest.fixture(scope="module", params=["podman", "docker"])
def containers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containers]:
    """Two containers, `node-a` and `node-b`."""
    engine = request.param
    if (why := missing(engine)) is not None:
        required = engine in os.environ.get("ORCH_CONTAINERS", "").split(",")
        (pytest.fail if required else pytest.skip)(why)
    with Containers(engine, tmp_path_factory.mktemp(engine)) as both:
        both.run("node-a")
        both.run("node-b")
        yield both


@pytest.fixture
def on(orch: Orch, containers: Containers, tmp_path: Path) -> Orch:
    """Run one command of orch on the containers, in a folder with the script."""
    (tmp_path / "hosts.yaml").write_text(
        f"transport: {containers.engine}\n"
        f"defaults: {{python: {sys.executable}, launcher: direct, workdir: work}}\n"
        "hosts: [node-a, node-b]\n"
    )
    (tmp_path / "train.py").write_text(RENDEZVOUS)

    def run(*words: str | Path, **more: str) -> object:
        given = {"PATH": containers.path, **more}
        if "DOCKER_HOST" in os.environ:
            given["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        return orch(*words, **given)

    return run  # type: ignore[return-value]


def await_no_process(containers: Containers) -> None:
    """Wait until no process of orch or of a run is left: an agent ends soon after its connection."""
    deadline = time.monotonic() + 30
    while left := [line for name in containers.names for line in containers.processes(name)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)  # between two checks


def test_launch_copies_the_script_and_the_ranks_meet(on: Orch, containers: Containers) -> None:
    done = on("launch", "train.py")
    assert done.returncode == 0, done.stderr
    assert "r0 node-a │ met node-b on node-a" in done.stdout
    assert re.search(r"main node-a at [\d.]+:\d+", done.stderr)
    assert containers.of("node-b", "cat", "/root/work/train.py").stdout == RENDEZVOUS
    await_no_process(containers)


def test_rank_that_fails_ends_the_others(on: Orch, containers: Containers) -> None:
    done = on("launch", "train.py", "fail")
    assert done.returncode == 7, done.stderr
    await_no_process(containers)


def test_run_outlives_its_controller_and_is_stopped(on: Orch, containers: Containers) -> None:
    detached = on("launch", "--detach", "train.py", "wait")
    assert detached.returncode == 0, detached.stderr
    run = detached.stdout.strip()
    shown = on("status", run)
    controller = re.search(r"background pid (\d+)", shown.stdout + shown.stderr)
    assert controller is not None, shown
    os.kill(int(controller[1]), signal.SIGKILL)
    shown = on("status", run)
    assert re.findall(r"r\d +(\w+)", shown.stdout) == ["running", "running"], shown
    stopped = on("stop", run)
    assert stopped.returncode == 0, stopped.stderr
    await_no_process(containers)


def test_exec_passes_on_bytes_and_exit_codes(on: Orch) -> None:
    done = on("exec", "--", "sh", "-c", "hostname; exit 3")
    assert (done.returncode, done.stdout) == (3, "node-a │ node-a\nnode-b │ node-b\n")


def test_command_and_shell_have_a_terminal_of_this_size(
    on: Orch, containers: Containers, warm: Warm, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ["exec", "-t", "--nodes", "node-b", "--", "sh", "-c"]
    given = {**environment, "PATH": containers.path, "TERM": "xterm-256color"}
    script = "echo on-$(hostname) $TERM $(stty size); exit 4"
    code, shown = warm.run_on_terminal([*words, script], given, tmp_path, (31, 97))
    assert code == 4
    assert b"on-node-b xterm-256color 31 97\r\n" in shown
    await_no_process(containers)


def test_exec_that_times_out_ends_the_command(on: Orch, containers: Containers) -> None:
    done = on("exec", "--timeout", "1", "--", "sleep", "600")
    assert done.returncode == 124, done.stderr
    await_no_process(containers)


def test_container_that_is_not_there_or_does_not_run_is_reported(
    on: Orch, containers: Containers, tmp_path: Path
) -> None:
    engine = containers.engine
    containers.run("node-c")
    containers.call("kill", "node-c")
    inventory = tmp_path / "other.yaml"
    inventory.write_text(f"transport: {engine}\nhosts: [node-c, node-x]\n")
    done = on("nodes", "-i", inventory)
    assert done.returncode == 125
    assert f"start it with: {engine} start node-c" in done.stderr
    assert f"list the containers with: {engine} ps -a" in done.stderr
    assert "node-x: " in done.stderr
    containers.call("rm", "node-c")
    containers.names.remove("node-c")


def test_node_whose_container_is_removed_is_lost(on: Orch, containers: Containers) -> None:
    detached = on("launch", "--detach", "train.py", "wait")
    run = detached.stdout.strip()
    containers.remove("node-b")
    attached = on("attach", run)
    containers.run("node-b")
    assert attached.returncode == 1, attached.stderr
    assert "node-b is not running: " in " ".join(attached.stderr.split())
    await_no_process(containers)
