"""The memory of a controller does not grow with the output of its run."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, wait_until, write

pytestmark = pytest.mark.lab

MOST = 120_000_000
# The number of bytes that each of two ranks prints when the test lets it.
EACH = 500_000_000
FLOOD = """
import os, sys, time
line = b"%015d of the lines that a rank prints when it has a lot to tell about its weights\\n" % 0
while not os.path.exists("/tmp/flood-now"): time.sleep(0.05)
for _ in range(int(sys.argv[1]) // (len(line) * 1000)): sys.stdout.buffer.write(line * 1000)
"""


class Peak:
    """The peak memory of a process in bytes."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.bytes = 0

    def look(self) -> bool:
        """Measure again; return False if the process has ended."""
        with suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            if found:
                self.bytes = int(found[1]) * 1024
                return True
        return False


@pytest.mark.parametrize("follower", ["launch", "controller"])
def test_memory_of_the_controller_stays_under_120_mb(
    make_lab: Callable[..., Lab], tmp_path: Path, follower: str
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "flood.py", FLOOD)
    words: list[str | Path] = [
        *ORCH,
        "launch",
        "-i",
        lab.inventory,
        "--launcher",
        "direct",
        script,
        str(EACH),
    ]
    if follower == "controller":
        words.insert(len(ORCH) + 1, "--detach")
    with (
        lab.popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as launch,
        lab.popen(["wc", "-c"], stdin=launch.stdout, stdout=subprocess.PIPE) as reader,
    ):
        assert launch.stdout is not None
        launch.stdout.close()  # only the reader uses it
        if follower == "controller":
            assert launch.wait(60) == 0
        wait_until(lambda: len([*runs(lab).glob("*/events.jsonl")]) == 1)
        peak = Peak(launch.pid if follower == "launch" else controller(lab))
        wait_until(lambda: len(ranks(lab)) == 2)
        for node in lab.nodes:
            (lab.files(node) / "tmp/flood-now").touch()
        early = 0
        while peak.look():
            if not early and kept(lab) > EACH:  # half of it
                early = peak.bytes
            time.sleep(0.02)
        if follower == "launch":
            assert launch.wait(10) == 0
            assert int(reader.communicate()[0]) > kept(lab)  # it was also shown
    assert kept(lab) > 2 * EACH * 0.99
    assert early > 0
    assert peak.bytes < MOST
    # Half a GB has arrived since; on a busy machine a bounded buffer may have filled only now.
    assert peak.bytes < early + 32_000_000, (early, peak.bytes)


def controller(lab: Lab) -> int:
    (pid,) = [process.pid for process in lab.processes("ctl") if "control" in process.argv]
    return pid


def ranks(lab: Lab) -> list[int]:
    every = [process for node in lab.nodes for process in lab.processes(node)]
    return [process.pid for process in every if "flood.py" in process.argv]


def runs(lab: Lab) -> Path:
    return lab.home / ".local/state/orch/runs"


def kept(lab: Lab) -> int:
    return sum(file.stat().st_size for file in runs(lab).glob("*/logs/*/attempt-0/rank-*.out"))
