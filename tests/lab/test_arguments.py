"""Arguments reach the ranks as typed, with any launcher and any kind of program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import copies, launch, processes_of_runs, run_name, write

pytestmark = pytest.mark.lab

SHOW = """
import os, sys
found = [sys.argv[1:], [os.environ.get(name) for name in ("FOO.BAR", "spark.app.name")]]
sys.stdout.write(f"{found}\\n")  # in one piece: the streams of two ranks come as they are
"""
# The first of each abbreviates options of torchrun, or is special to every parser.
ARGUMENTS = [
    "--log",
    "5",
    "--ma=1",
    "--nnodes=7",
    "-m",
    "x",
    "--devices",
    "2",
    "--",
    "--no-python",
    "-r",
]
PROGRAM = """#!/bin/bash
trap 'echo stopped; exit 9' TERM
echo "rank $RANK of $WORLD_SIZE:" "$0" "$@"
echo on stderr >&2
[ "$RANK" = 1 ] && [ "$1" = fail ] && exit 7
exit 0
"""
LAUNCHERS = [
    pytest.param("torchrun", marks=pytest.mark.torch),
    pytest.param("fabric", marks=pytest.mark.torch),
    "direct",
    "python",
]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_script_gets_arguments_and_variables_under_every_launcher(
    lab3: Lab, tmp_path: Path, launcher: str
) -> None:
    script = write(tmp_path / "job", "show.py", SHOW)
    (tmp_path / "dotted.env").write_text("spark.app.name=x y\n")
    given = ["--launcher", launcher, "--nodes", "node[0-1]", "--nproc", "1", "--preflight", "off"]
    env = ["-e", "FOO.BAR=1", "--env-file", str(tmp_path / "dotted.env")]
    done = launch(lab3, *given, *env, "--output", "raw", "--", script, *ARGUMENTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SCRIPT" not in done.stderr
    shown = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert shown == [[ARGUMENTS, ["1", "x y"]]] * 2


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_shell_script_is_launched_directly(lab3: Lab, tmp_path: Path, launcher: str) -> None:
    script = write(tmp_path / "job", "run.sh", PROGRAM)
    script.chmod(0o755)
    given = ["--launcher", launcher, "--nodes", "node[0-1]", "--nproc", "1"]
    done = launch(lab3, *given, script, "a b", "--log=5")
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        assert f"rank {rank} of 2: ./run.sh a b --log=5\n" in done.stdout
    failed = launch(lab3, *given, script, "fail")
    assert failed.returncode == 7, failed.stdout + failed.stderr
    assert "SyntaxError" not in failed.stderr
    own = copies(lab3, run_name(failed.stderr)) / "node1/attempt-0"
    assert (own / "rank-1.err").read_text() == "on stderr\n"
    assert processes_of_runs(lab3, run_name(failed.stderr)) == []


@pytest.mark.torch
def test_program_on_the_nodes_is_launched_by_name(lab3: Lab, tmp_path: Path) -> None:
    given = [
        "--nodes",
        "node[0-1]",
        "--nproc",
        "1",
        "--no-python",
        "--no-sync",
        "--workdir",
        "/tmp",
    ]
    done = launch(lab3, *given, "env", "FOO.BAR=2", "printenv", "RANK", "FOO.BAR")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("│ 2\n") == 2


def test_program_that_cannot_start_is_reported(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "run.sh", "#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = launch(lab3, "--launcher", "direct", "--nodes", "node0", "--nproc", "1", script)
    assert done.returncode == 125
    assert "./run.sh: the interpreter that its first line names does not exist" in done.stderr
    assert "Traceback" not in done.stderr
