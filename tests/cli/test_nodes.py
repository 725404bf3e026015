"""`orch nodes`: a row a node, also for those that cannot be reached."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from .orch import Orch


def test_every_node_has_a_row(orch: Orch) -> None:
    done = orch("nodes", "--local", "2")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = [line.split() for line in done.stdout.splitlines()]
    assert heading == [
        "NODE",
        "ADDRESS",
        "PYTHON",
        "TORCH",
        "CPUS",
        "GPUS",
        "NETWORK",
        "RSYNC",
        "CLOCK",
        "HOME",
    ]
    assert [row[0] for row in rows] == ["local0", "local1"]
    assert {row[2] for row in rows} == {platform.python_version()}


def test_json_has_an_object_a_node(environment: dict[str, str], orch: Orch) -> None:
    done = orch("nodes", "--local", "2", "--nodes", "local1", "--output", "json")
    (node,) = json.loads(done.stdout)
    assert (node["name"], node["reachable"], node["problem"]) == ("local1", True, None)
    assert node["home"] == environment["HOME"]


def test_unreachable_node_is_a_row_with_a_remedy_below(tmp_path: Path, orch: Orch) -> None:
    inventory = tmp_path / "cluster.yaml"
    inventory.write_text("hosts: [{name: a, address: 127.0.0.1, port: 1}]")
    done = orch("nodes", ORCH_INVENTORY=str(inventory))
    assert done.returncode == 125
    assert done.stdout.splitlines()[1].split()[:4] == ["a", "127.0.0.1:1", "✗", "refused"]
    assert "orch: a: 127.0.0.1 port 1 refuses connections" in done.stderr
    assert "→" in done.stderr
    (node,) = json.loads(orch("nodes", "-i", inventory, "--output", "json").stdout)
    assert (node["reachable"], node["cpus"], node["problem"]["cause"]) == (False, None, "refused")


def test_local_excludes_an_inventory_on_the_command_line(tmp_path: Path, orch: Orch) -> None:
    done = orch("nodes", "--local", "1", "-i", "x.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "exclude each other" in done.stderr
    usual = orch("nodes", "--local", "1", ORCH_INVENTORY="x.yaml")
    assert usual.returncode == 0, usual.stderr
