"""Preflight's findings about hosts, logins, storage, limits and clocks, with real problems."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import life
from labkit.lab import Lab

from .orch import agents, orch, wait_until

pytestmark = pytest.mark.lab

MakeLab = Callable[..., Lab]

# Without `limits`: those of a login depend on this machine.
CHECKS = "ssh,host.unique,host.orphans,host.linger,shm,memory,disk,shared,user,clock"

# A Python that gives the agent a wrong clock, as if its machine had one.
LATE = """\
#!/bin/sh
[ "$4" = -c ] || exec {python} "$@"
exec {python} -IS -X utf8 -c '
import sys, time
real = time.time
time.time = lambda: real() - 100
code, sys.argv[1:] = sys.argv[5], sys.argv[6:]
exec(code)
' "$@"
"""


@pytest.fixture(scope="module")
def lab(_labs: Any) -> Iterator[Lab]:
    """Four hosts; logins to node1 are noisy."""
    lab: Lab = _labs.up(4, noisy_bashrc=["node1"])
    yield lab
    life.down(lab.name)


def findings(lab: Lab, inventory: Path | None = None, only: str = CHECKS) -> list[dict[str, Any]]:
    """Return the findings, without those that pass or do not apply."""
    place = inventory or lab.inventory
    done = orch(lab, "preflight", "-i", place, "--only", only, "--output", "json", timeout=60)
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return [each for each in found if each["status"] not in ("pass", "skip")]


def brief(found: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(each["id"], each["status"], ",".join(each["nodes"])) for each in found}


def homes(lab: Lab, node: str) -> list[str]:
    return lab.run(["ls", "-A", "/root"], node=node).stdout.split()


def paste(lab: Lab, finding: dict[str, Any]) -> None:
    """Apply the remedy of a finding on the nodes that it names."""
    assert finding["remedy"]["commands"]
    for node in finding["remedy"]["nodes"]:
        for command in finding["remedy"]["commands"]:
            done = lab.run(["bash", "-c", command], node=node)
            assert done.returncode == 0, done.stderr


def test_each_problem_names_its_node_and_has_a_working_remedy(lab: Lab) -> None:
    late = lab.files("node3") / "home" / "late-python"
    late.write_text(LATE.format(python=sys.executable))
    late.chmod(0o755)
    inventory = lab.dir / "troubled.yaml"
    text = lab.inventory.read_text()
    inventory.write_text(
        text.replace("name: node3,", "name: node3, python: ~/late-python,").replace(
            "name: node0,", "name: node0, workdir: ~/full/job,"
        )
    )
    lab.run(["mkdir", "/root/full"], node="node0")
    lab.run(["mount", "-t", "tmpfs", "-o", "size=8m", "full", "/root/full"], node="node0")
    lab.run(["mount", "-o", "remount,size=64m", "/dev/shm"], node="node2")

    found = findings(lab, inventory)
    assert brief(found) == {
        ("ssh.clean", "warn", "node1"),
        ("shm", "fail", "node2"),
        ("clock", "fail", "node3"),
        ("disk", "fail", "node0"),
    }
    by_id = {each["id"]: each for each in found}
    assert "/root/.bashrc, line 1 " in by_id["ssh.clean"]["message"]
    assert by_id["clock"]["message"].startswith(("has a clock 100.", "has a clock 99."))
    assert "behind the others" in by_id["clock"]["message"]
    assert by_id["disk"]["message"].startswith(
        "the working folder /root/full/job (on /root/full) has only 8 MiB left"
    )

    paste(lab, by_id["ssh.clean"])
    paste(lab, by_id["shm"])
    left = brief(findings(lab, inventory, "ssh.clean,shm,disk,clock"))
    assert left == {("clock", "fail", "node3"), ("disk", "fail", "node0")}

    noisy = lab.run(["ssh", "-F", str(lab.dir / "ssh_config"), "node1", "true"])
    assert noisy.stdout == ""
    asked = lab.run(["bash", "-ic", "exit"], node="node1")
    assert asked.stdout.startswith("Welcome to node1")
    wait_until(lambda: agents(lab) == [])


def test_leftover_ranks_are_reported_with_node_and_age(lab: Lab) -> None:
    meeting = {"RANK": "1", "MASTER_ADDR": lab.address("node0"), "MASTER_PORT": "29500"}
    other = {**meeting, "MASTER_PORT": "29600", "ORCH_RUN": "calm-fox"}
    with (
        lab.popen(["sleep", "600"], node="node2", env=meeting, start_new_session=True) as stale,
        lab.popen(["sleep", "601"], node="node3", env=other, start_new_session=True) as sibling,
    ):
        try:
            found = findings(lab, only="host.orphans")
            assert brief(found) == {
                ("host.orphans", "fail", "node2"),
                ("host.orphans", "warn", "node3"),
            }
            fail, warn = found
            assert re.search(
                r"process \d+ \(of root, for \d+ s, main port 29500\)", fail["message"]
            )
            assert "sleep 600" in fail["message"]
            assert "run calm-fox" in warn["message"]
            assert warn["remedy"]["text"].startswith(
                "if no one needs them any more: `orch stop calm-fox`"
            )
            (kill,) = re.findall(r"kill \d+", fail["remedy"]["text"])
            assert lab.run(kill.split(), node="node2").returncode == 0
            assert stale.wait(20) == -signal.SIGTERM
            assert brief(findings(lab, only="host.orphans")) == {("host.orphans", "warn", "node3")}
        finally:
            stale.kill()
            sibling.kill()


def test_two_names_of_one_machine_are_named(lab: Lab) -> None:
    inventory = lab.dir / "twins.yaml"
    twin = "  - {name: twin, address: node1}\n"
    inventory.write_text(lab.inventory.read_text() + twin)
    (found,) = findings(lab, inventory, "host.unique")
    assert (found["status"], found["nodes"]) == ("fail", ["node1", "twin"])
    assert found["message"] == "are 2 names of one machine (node1)"
    # It prevents any launch, so every level includes it.
    quick = orch(lab, "preflight", "-i", inventory, "--level", "quick")
    assert quick.returncode == 1
    assert "are 2 names of one machine (node1)" in quick.stdout


def test_folder_that_only_some_nodes_share_is_reported(make_lab: MakeLab) -> None:
    lab = make_lab(3, shared_home=["node0", "node2"])
    before = {node: set(homes(lab, node)) for node in lab.nodes}
    (found,) = findings(lab, only="shared,user")
    assert (found["id"], found["status"], found["nodes"]) == ("shared", "warn", ["node0", "node2"])
    for node in lab.nodes:
        assert set(homes(lab, node)) - before[node] <= {".local"}  # created by orch, on every node
