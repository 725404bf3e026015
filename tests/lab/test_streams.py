"""What ranks print, over real SSH: nothing is lost, hidden, split or misdated."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, Launch, latest, launch, orch, unlike, write

pytestmark = pytest.mark.lab

DIRECT = ["--preflight", "off", "--launcher", "direct", "--nproc", "1"]
ONE = [*DIRECT, "--nodes", "node0"]

REOPENING = """
import os, subprocess, sys, time
for i in range(200):
    print("loading shard", i, file=sys.stderr, flush=True)
subprocess.run(["bash", "-c", "echo 'dataset ready' > /dev/stderr"])
print("by name", file=open("/dev/stdout", "w"))
if os.environ["RANK"] == "1":
    raise ValueError("bad sample 17")
time.sleep(1000)
"""


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_output_to_dev_stdout_is_complete(lab3: Lab, tmp_path: Path, launcher: str) -> None:
    script = write(tmp_path / "job", "reopening.py", REOPENING)
    done = launch(lab3, "--preflight", "off", "--launcher", launcher, "--nproc", "1", script)
    assert done.returncode == 1, done.stderr
    assert "ValueError: bad sample 17" in done.stderr, "the verdict names it"
    assert "r1 node1 │ dataset ready" in done.stdout
    assert "r1 node1 │ by name" in done.stdout
    assert done.stdout.count("r1 node1 │ loading shard") == 200
    last = orch(lab3, "logs", "--rank", "1", "--stderr", "--tail", "1")
    assert last.stdout == "r1 node1 │ ValueError: bad sample 17\n"
    assert unlike(lab3, latest(lab3)) == []


LONG = """
import json
print(json.dumps({"metrics": ["x" * 300_000]}), flush=True)
"""


def test_line_of_300_kb_is_one_line_in_a_pipe(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "long.py", LONG)
    done = launch(lab3, *DIRECT, script)
    assert done.returncode == 0, done.stderr
    texts = [re.sub("^[^│]*│ ", "", line) for line in done.stdout.splitlines()]
    assert [len(json.loads(text)["metrics"][0]) for text in texts] == [300_000] * 3
    for words in (["--grep", "metrics"], ["--tail", "3"], ["--grep", "metrics", "--tail", "3"]):
        shown = orch(lab3, "logs", *words)
        assert sorted(shown.stdout.splitlines()) == sorted(done.stdout.splitlines())
    command = ["--", "python3", "-c", "print('x' * 200000)"]
    done = orch(lab3, "exec", "-i", lab3.inventory, "--no-fold", *command)
    assert [len(line) for line in done.stdout.splitlines()] == [200_000 + len("node0 │ ")] * 3


WAITING = """
import os, sys, time
sys.stdout.write("\\r 10%\\r 20%")
sys.stdout.flush()
sys.stderr.write("continue?")
sys.stderr.flush()
while not os.path.exists("/tmp/" + os.environ["ORCH_RUN"] + ".go"):
    time.sleep(0.05)
print("\\r100%")
"""


def test_unfinished_lines_are_shown_in_a_pipe(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "waiting.py", WAITING)
    with Launch(lab3, *ONE, script) as job:
        job.wait_for_lines(1, "│  20%\n")
        job.wait_for_lines(1, "│ continue?…\n")
        (lab3.files("node0") / "tmp" / f"{latest(lab3)}.go").touch()
        assert job.end() == 0
    shown = [line.partition("│ ")[2] for line in job.out]
    assert sorted(shown[2:]) == ["100%\n", "continue?\n"]


def test_environment_beyond_the_kernel_limit_is_refused(lab3: Lab, tmp_path: Path) -> None:
    many = tmp_path / "many.env"
    many.write_text("".join(f"V{i}={'B' * 50_000}\n" for i in range(60)))
    script = write(tmp_path / "job", "hello.py", "print('hello')")
    for level in ("quick", "off"):
        words = ["--nodes", "node0", "--launcher", "direct", "--nproc", "1"]
        done = launch(lab3, *words, "--preflight", level, "--env-file", many, script)
        assert done.returncode == 125
        assert done.stdout == ""
        assert "node0: environment and arguments have 3,0" in done.stderr
        assert "Linux allows 2,097,152 there" in done.stderr
        assert "The largest: variable V10 (50,005)" in done.stderr
        assert "Traceback" not in done.stderr


def test_large_environment_within_the_limit_arrives(lab3: Lab, tmp_path: Path) -> None:
    many = tmp_path / "many.env"
    many.write_text("".join(f"V{i}={'B' * 50_000}\n" for i in range(30)))
    show = "import os; print(sum(len(v) for k, v in os.environ.items() if k[1:].isdigit()))"
    script = write(tmp_path / "job", "show.py", show)
    done = launch(lab3, "--launcher", "direct", "--nproc", "1", "--env-file", many, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ 1500000\n") == 3


def test_shown_timestamps_are_valid_for_since_in_any_zone(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job",
        "ticking.py",
        "import time\nfor i in range(4):\n    print('tick', i, flush=True)\n    time.sleep(0.3)\n",
    )
    assert launch(lab3, *DIRECT, script).returncode == 0
    for zone in ("America/New_York", "Asia/Kathmandu", "UTC"):
        lines = logs_in(lab3, zone, "--timestamps").stdout.splitlines()
        assert len(lines) == 12
        times = [line.split(" ", 1)[0] for line in lines]
        assert times == sorted(times)
        for number in (0, 5, 11):
            since = logs_in(lab3, zone, "--timestamps", "--since", times[number])
            first = times.index(times[number])
            assert since.stdout.splitlines() == lines[first:]


def logs_in(lab: Lab, zone: str, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.run(["env", f"TZ={zone}", *ORCH, "logs", *words], timeout=60)
