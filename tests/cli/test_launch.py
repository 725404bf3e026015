"""What `orch launch` is asked for, and what it refuses before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .orch import Orch

LOCAL = ("launch", "--local", "2", "--dry-run")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "t.py"
    script.write_text("print('hello')\n")
    return script


def test_an_elastic_launch_is_up_to_all_of_its_nodes(orch: Orch, script: Path) -> None:
    shown = orch(*LOCAL, "--elastic", "1:4", str(script)).stdout
    assert "# local1: node rank 1, 1 of at most 2 ranks\n" in shown
    assert shown.count("--nnodes=1:2 ") == 2
    assert shown.count("--max-restarts=3 ") == 2
    shown = orch(*LOCAL, "--elastic", "1:4", "--restarts", "0", str(script)).stdout
    assert shown.count("--max-restarts=0 ") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2:1"], "--elastic 2:1: two numbers of nodes are expected, the smaller first"),
        (["2"], "--elastic 2: two numbers of nodes are expected"),
        (["0:2"], "--elastic 0:2: two numbers of nodes are expected"),
        (["3:4"], "--elastic 3:4: there are 2 nodes"),
        (["1:2", "--on-failure", "continue"], "what an elastic job does when a rank fails"),
        (["1:2", "--launcher", "direct"], "--elastic 1:2: with --launcher direct nobody starts"),
    ],
)
def test_what_cannot_be_elastic_is_refused(
    orch: Orch, script: Path, words: list[str], message: str
) -> None:
    done = orch(*LOCAL, "--elastic", *words, str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"orch: {message}")


def test_how_to_end_a_stall_is_refused_where_none_would_be_noticed(
    orch: Orch, script: Path
) -> None:
    done = orch(*LOCAL, "--on-stall", "stop", str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "orch: --on-stall stop goes with --stall TIME\n"
    assert orch(*LOCAL, "--on-stall", "stop", "--stall", "60", str(script)).returncode == 0


# -- what a preflight sees of it ------------------------------------------------------------------


def checked(orch: Orch, *words: str) -> dict[str, str]:
    """Return what a preflight of the same words has found, by its checks."""
    done = orch("preflight", "--local", "1", "--level", "quick", "--output", "json", *words)
    assert done.returncode in (0, 1), done.stderr
    return {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}


def test_a_preflight_is_of_the_job_that_would_be_launched(
    orch: Orch, script: Path, tmp_path: Path
) -> None:
    assert checked(orch, "t.py")["nic.pick"] == "pass"
    assert checked(orch, "--env", "NCCL_SOCKET_IFNAME=none0", "t.py")["nic.pick"] != "pass"
    assert checked(orch, "t.py")["sw.script"] == "pass"
    assert checked(orch, "-m", "package.train")["sw.script"] == "skip"
    (tmp_path / "other").mkdir()
    done = orch("preflight", "--local", "1", "--sync", "other", str(script))
    assert done.returncode == 2
    assert "is not inside other, the folder that is synced" in done.stderr


@pytest.mark.parametrize("command", [["launch", "--dry-run"], ["preflight"]], ids=" ".join)
def test_what_is_copied_is_said_once(orch: Orch, script: Path, command: list[str]) -> None:
    done = orch(*command, "--local", "1", "--sync", ".", "--no-sync", str(script))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "orch: --sync and --no-sync exclude each other\n"
