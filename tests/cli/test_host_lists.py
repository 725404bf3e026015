"""Hostfiles, `-H`, and the nodes of a scheduler's job, as each command takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .orch import Orch

ADDRESS = "127.0.0.1"  # nothing listens on the ports below


def first_rows(text: str) -> list[list[str]]:
    """Return the names and addresses that `orch nodes` shows."""
    return [line.split()[:2] for line in text.splitlines()[1:]]


def test_hostfile_is_read_and_named(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "hostfile").write_text(f"{ADDRESS} slots=8 port=1\n")
    done = orch("nodes", "-i", "hostfile")
    assert done.stderr.startswith("orch: hostfile: read as a DeepSpeed hostfile\n")
    assert first_rows(done.stdout) == [[ADDRESS, f"{ADDRESS}:1"]]


def test_faults_of_a_hostfile_are_all_shown(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "hostfile").write_text("n1 slots=8\nn2 slots=x\nn3\n")
    done = orch("nodes", "-i", "hostfile")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        "orch: hostfile: 2 problems",
        "hostfile:2:4: expected a number of slots, at most 1024; found 'slots=x'",
        "hostfile:3:1: expected slots for n3 too, as in n3 slots=8",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nodes", "-i", "x"], "-H and -i exclude each other"),
        (["prepare", "-i", "x"], "-H and -i exclude each other"),
        (["exec", "--local", "2"], "--local and -H exclude each other"),
        (["ssh", "--run", "x"], "leave out --inventory, --hosts and --local"),
        (["launch", "--slurm", "-N1"], "--slurm and -H exclude each other"),
    ],
)
def test_hosts_exclude_other_lists(
    tmp_path: Path, orch: Orch, words: list[str], message: str
) -> None:
    (tmp_path / "train.py").touch()
    last = [] if words[0] in ("nodes", "prepare") else ["train.py"]
    done = orch(*words, "-H", "h1:8", *last)
    assert done.returncode == 2
    assert message in done.stderr


def test_hosts_are_used_without_an_inventory(orch: Orch) -> None:
    done = orch("nodes", "--hosts", "me@[::1]:2,n0.invalid:4", "--connect-timeout", "5")
    assert first_rows(done.stdout) == [["node0", "::1"], ["n0.invalid", "n0.invalid"]]
    assert "read as" not in done.stderr


@pytest.mark.parametrize("given", ["h1:2222,$(touch pwned)", "h1\x1b[2J"])
def test_faults_of_hosts_are_one_message(tmp_path: Path, orch: Orch, given: str) -> None:
    done = orch("exec", "-H", given, "--nodes", "none", "true")
    assert done.returncode == 2
    assert done.stderr.startswith("orch: -")
    assert "\x1b" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_job_gives_the_hosts_unless_an_inventory_is_named(tmp_path: Path, orch: Orch) -> None:
    (tmp_path / "nodes").write_text("n1.invalid\nn2.invalid\nn1.invalid\n")
    (tmp_path / "hosts.yaml").write_text(f"hosts: [{{name: a, address: {ADDRESS}, port: 1}}]\n")
    job = {"PBS_JOBID": "12.server", "PBS_NODEFILE": str(tmp_path / "nodes")}
    done = orch("nodes", "--connect-timeout", "5", **job)
    assert [name for name, _ in first_rows(done.stdout)] == ["n1.invalid", "n2.invalid"]
    assert done.stderr.startswith(
        "orch: in PBS job 12.server: 2 nodes, n[1-2].invalid; -i hosts.yaml for the hosts in that file\n"
    )
    for words, more in ((["-i", "hosts.yaml"], {}), ([], {"ORCH_INVENTORY": "hosts.yaml"})):
        done = orch("nodes", *words, **job, **more)
        assert first_rows(done.stdout) == [["a", f"{ADDRESS}:1"]]
        assert "PBS" not in done.stderr
