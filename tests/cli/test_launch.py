"""What `orch launch` is asked for, and what it refuses before anything is started."""

from __future__ import annotations

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
