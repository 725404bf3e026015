"""`orch nodes` and `orch exec` on real hosts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from orchestrator.inventory.ranges import expand

from .orch import ORCH, agents, orch, wait_until, write

pytestmark = pytest.mark.lab

MakeLab = Callable[..., Lab]


def changed(lab: Lab, folder: Path, node: str, keys: str) -> Path:
    """Return an inventory in which `node` has more keys."""
    inventory = folder / "hosts.yaml"
    inventory.write_text(
        lab.inventory.read_text().replace(f"name: {node},", f"name: {node}, {keys},")
    )
    return inventory


def commands(lab: Lab, node: str) -> list[list[str]]:
    return [list(process.argv) for process in lab.processes(node)]


def test_nodes_reports_the_interface_of_the_shared_network(lab3: Lab) -> None:
    done = orch(lab3, "nodes", "-i", lab3.inventory, "--output", "json")
    assert (done.returncode, done.stderr) == (0, "")
    nodes = json.loads(done.stdout)
    assert [node["name"] for node in nodes] == lab3.nodes
    for node in nodes:  # neither docker0, which exists too, nor 127.0.1.1
        assert node["interface"] == "eth0"
        assert node["interface_address"] == lab3.address(node["name"])
        assert node["subnet"] == "198.18.0.0/24"
        assert node["rsync"] is True
        assert abs(node["clock_skew"]) < 0.5
    wait_until(lambda: agents(lab3) == [])


def test_unreachable_nodes_do_not_hide_others(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(4, no_rsync=True)
    lab.vanish("node2")
    inventory = changed(lab, tmp_path, "node1", "python: /opt/none/bin/python")
    began = time.monotonic()
    done = orch(lab, "nodes", "-i", inventory, "--connect-timeout", "3")
    assert time.monotonic() - began < 3 + 10
    assert done.returncode == 125
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == lab.nodes
    assert [row[8] for row in (rows[0], rows[3])] == ["no", "no"]
    assert "orch: node[0,3]: rsync is not installed\n  → install rsync there" in done.stderr
    assert rows[1][2:4] == ["✗", "agent"]
    assert rows[2][2] == "✗"
    assert "node1: there is no Python at '/opt/none/bin/python'" in done.stderr
    assert "orch: node2: " in done.stderr
    assert "orch: node0" not in done.stderr


def test_two_names_of_one_machine_are_reported(lab3: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    twice = f"  - {{name: again, address: {lab3.address('node0')}, port: 22}}\n"
    inventory.write_text(lab3.inventory.read_text() + twice)
    done = orch(lab3, "nodes", "-i", inventory)
    assert done.returncode == 1, done.stderr
    assert "node0 and again are two names of one machine" in done.stderr


def test_command_runs_on_every_host_although_shells_print(make_lab: MakeLab) -> None:
    lab = make_lab(2, noisy_bashrc=True)
    done = orch(lab, "exec", "-i", lab.inventory, "--", "sh", "-c", "hostname; pwd; exit 7")
    assert sorted(done.stdout.splitlines()) == [
        "node0 │ /root", "node0 │ node0", "node1 │ /root", "node1 │ node1",
    ]  # fmt: skip
    assert done.returncode == 7
    assert "✗ exit code 7 on node[0-1]" in done.stderr


def test_large_output_of_a_command_is_complete(lab3: Lab) -> None:
    done = orch(lab3, "exec", "-i", lab3.inventory, "--nodes", "node1", "seq", "1", "500000")
    lines = done.stdout.splitlines()
    assert lines == [f"node1 │ {number}" for number in range(1, 500_001)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_command_ends_with_its_connection(lab3: Lab, number: int) -> None:
    words = ["--no-fold", "-i", str(lab3.inventory), "--", "sh", "-c", "echo up; sleep 4321; true"]
    process = lab3.popen(
        [*ORCH, "exec", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in lab3.nodes:
        assert process.stdout.readline().endswith("│ up\n".encode())
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    for node in lab3.nodes:
        wait_until(lambda node=node: ["sleep", "4321"] not in commands(lab3, node))  # type: ignore[misc]


def test_lost_host_is_reported_and_the_others_continue(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    # The parent of its parent is the sshd that serves this connection.
    kill = "kill -KILL $(awk '/^PPid/ {print $2}' /proc/$PPID/status); sleep 100"
    script = f"hostname; if [ $(hostname) = node0 ]; then {kill}; fi"
    done = orch(lab, "exec", "-i", lab.inventory, "--", "sh", "-c", script)
    assert "node1 │ node1\n" in done.stdout
    assert done.returncode == 125, done.stderr
    assert "node0: the connection" in done.stderr


# -- equal output of several hosts ------------------------------------------------------------------

CLUSH = Path(sys.executable).with_name("clush")
SCRIPTS = [
    "echo same",
    "hostname",
    "{ echo one; echo two >&2; } 2>&1",  # clush shows standard error separately
    "case $(hostname) in node1) echo odd;; *) echo same;; esac",
    "case $(hostname) in node2) ;; *) printf 'no newline';; esac",
    "echo a; case $(hostname) in node0) echo b;; esac; echo c",
    "printf '\\n\\n  x\\n'",
    "true",
]


def groups_of_clush(lab: Lab, script: str) -> dict[frozenset[str], list[str]]:
    """Return lines by nodes from `clush -b`: dashes, the nodes, dashes, and their lines."""
    ssh = f"-F {lab.dir / 'ssh_config'}"
    words: list[str | Path] = [CLUSH, "-b", "-q", "-o", ssh, "-w", ",".join(lab.nodes), script]
    done = lab.run([sys.executable, *words], env={"CLUSTERSHELL_CFGDIR": str(lab.dir)})
    found: dict[frozenset[str], list[str]] = {}
    lines = done.stdout.splitlines()
    while lines:
        assert set(lines[0]) == {"-"}, done.stdout
        names = lines[1].rpartition(" (")[0] if lines[1].endswith(")") else lines[1]
        end = next((n for n in range(3, len(lines)) if set(lines[n]) == {"-"}), len(lines))
        found[frozenset(expand(names))] = lines[3:end]
        lines = lines[end:]
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_equal_output_is_folded_as_clush_does(lab3: Lab, script: str) -> None:
    done = orch(lab3, "exec", "-i", lab3.inventory, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    found: dict[frozenset[str], list[str]] = {}
    for line in done.stdout.splitlines():
        names, bar, text = line.partition(" │ ")
        assert bar, line
        found.setdefault(frozenset(expand(names.strip())), []).append(text)
    assert found == groups_of_clush(lab3, script)


def test_command_starts_in_the_folder_of_the_project(lab3: Lab, tmp_path: Path) -> None:
    project = tmp_path / "some-project"
    write(project, "train.py", "print('here')")
    words = ["-i", str(lab3.inventory), "--launcher", "direct", "--preflight", "off", "train.py"]
    launched = lab3.run([*ORCH, "launch", *words], cwd=project)
    assert launched.returncode == 0, launched.stderr
    words = ["-i", str(lab3.inventory), "--in-workdir", "--", "sh", "-c", "pwd; cat train.py"]
    done = lab3.run([*ORCH, "exec", *words], cwd=project)
    assert done.stdout.splitlines() == [
        "node[0-2] │ /root/orch/some-project",
        "node[0-2] │ print('here')",
    ]


# -- nodes on which a launch cannot work ------------------------------------------------------------


def test_launch_on_a_node_without_torch_exits_1_with_the_remedy(lab3: Lab, tmp_path: Path) -> None:
    made = lab3.run([sys.executable, "-m", "venv", "--without-pip", "/tmp/bare"], node="node1")
    assert made.returncode == 0, made.stderr
    inventory = changed(lab3, tmp_path, "node1", "python: /tmp/bare/bin/python")
    done = orch(lab3, "nodes", "-i", inventory)
    assert done.returncode == 1
    assert "orch: node1: torch is not installed for /tmp/bare/bin/python\n" in done.stderr
    assert "set `python:` in the inventory" in done.stderr


def test_missing_rsync_fails_the_preflight_unless_nothing_is_sent(make_lab: MakeLab) -> None:
    lab = make_lab(2, no_rsync=True)
    words = ["-i", str(lab.inventory), "--level", "quick"]
    done = orch(lab, "preflight", *words)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split()[:3] == ["fail", "host.rsync", "all"]
    assert "apt-get install -y rsync" in done.stdout
    assert orch(lab, "preflight", *words, "--no-sync").returncode == 0


def test_same_problem_on_all_hosts_is_one_row(make_lab: MakeLab) -> None:
    lab = make_lab(3)
    for node in lab.nodes:
        lab.vanish(node)
    done = orch(lab, "exec", "-i", lab.inventory, "--connect-timeout", "3", "--", "true")
    assert done.returncode == 125
    assert "3 of 3 nodes cannot be reached" in done.stderr
    assert done.stderr.count("→") == 1
    assert "node[0-2]: " in done.stderr
    assert "('" not in done.stderr
