"""A job whose ranks write a lot and time their steps, so that a test can detect a rank that waited."""

from __future__ import annotations

import hashlib
import json
import signal
import struct
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from labkit.lab import Lab

from .orch import ORCH, wait_until, write

# Each step writes SIZE bytes and then records the time; the bytes of no two steps are equal.
# The ranks continue until the test ends them.
JOB = """
import os, struct, sys, time
size, folder, rank = int(sys.argv[1]), os.environ["ORCH_DIR"], os.environ["RANK"]
times = os.open(f"{folder}/steps-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
step = 0
while not os.path.exists(f"{folder}/enough"):
    head = b"step %9d of rank %s: line" % (step, rank.encode())
    lines = b"".join(b"%s %6d\\n" % (head, n) for n in range(size // 40))
    while lines:
        lines = lines[os.write(1, lines):]
    if step % 50 == 0:
        os.write(2, b"step %d\\n" % step)
    os.write(times, struct.pack("d", time.monotonic()))
    step += 1
    time.sleep(0.01)
"""


class Stretch(NamedTuple):
    """Start and end in seconds of time.monotonic, a clock that all hosts of a lab share."""

    begin: float
    end: float


class Stepping:
    """An `orch launch` of the job on all hosts; its output is discarded unless `streams` are given."""

    def __init__(
        self, lab: Lab, folder: Path, *words: str | Path, size: int = 20_000, **streams: Any
    ) -> None:
        self.lab = lab
        self._said = folder / "said"
        script = write(folder / "job", "steps.py", JOB)
        options = ["--launcher", "direct", "--preflight", "off", "--name", folder.name]
        if not streams:
            options += ["--output", "raw"]  # formatting so many lines takes long
        with self._said.open("wb") as said:
            unseen: dict[str, Any] = {
                "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": said
            }  # fmt: skip
            self.process = lab.popen(
                [*ORCH, "launch", "-i", lab.inventory, *options, *words, script, str(size)],
                **{**unseen, **streams},
            )

    def __enter__(self) -> Stepping:
        # As the controller sees it: it may have a mount there.
        home = Path(f"/proc/{self.lab.pid('ctl')}/root{self.lab.home}")
        pattern = f".local/state/orch/runs/{self._said.parent.name}-*"
        wait_until(lambda: [*home.glob(f"{pattern}/events.jsonl")] != [])
        (self._kept,) = home.glob(pattern)
        self.run = self._kept.name
        wait_until(lambda: all(self.steps(node) for node in self.lab.nodes))
        return self

    def __exit__(self, *_: object) -> None:
        self.enough()
        if self.process.poll() is None:
            for _count in range(3):  # the third ends the wait for a peer that does not read
                self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    @property
    def said(self) -> str:
        """What orch has written to standard error so far."""
        return self._said.read_text(errors="replace")

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        found: dict[str, Any] = json.loads((self._kept / "run.json").read_text())
        return found

    def folder(self, node: str) -> Path:
        """The run's folder on a node."""
        return self.lab.files(node) / "home/.local/state/orch/runs" / self.run / node

    def enough(self) -> None:
        """Make all ranks exit with 0."""
        for node in self.lab.nodes:
            (self.folder(node) / "enough").touch()

    def steps(self, node: str) -> list[float]:
        """The times at which the rank of a node finished each step so far."""
        data = b"".join(file.read_bytes() for file in self.folder(node).glob("steps-*"))
        return [when for (when,) in struct.iter_unpack("d", data[: len(data) // 8 * 8])]

    def run_for(self, seconds: float) -> Stretch:
        """Let time pass."""
        begin = time.monotonic()
        time.sleep(seconds)
        return Stretch(begin, time.monotonic())

    def written(self) -> int:
        """The number of bytes that all ranks have written."""
        return sum(file.stat().st_size for file in self._originals().values())

    def kept(self, node: str) -> int:
        """The number of bytes of a node's streams on the controller."""
        files = (self._kept / "logs" / node).glob("attempt-*/*")
        return sum(file.stat().st_size for file in files)

    def assert_no_rank_waited(self, calm: Stretch, trouble: Stretch) -> None:
        """Compare the steps in two periods.

        A rank that waits for a reader does so for as long as the trouble lasts, or at every step. A busy
        machine does neither: the usual step is compared by its median, and the longest with the trouble.
        """
        assert trouble.end - trouble.begin > 4, "too short to show anything"
        for node in self.lab.nodes:
            before, during = self._lengths(node, calm), self._lengths(node, trouble)
            assert len(before) > 50, f"{node} made {len(before)} steps before the trouble"
            assert len(during) > 50, f"{node} made {len(during)} steps during the trouble"
            assert median(during) < 3 * median(before), node
            assert max(during) < (trouble.end - trouble.begin) / 2, node

    def _lengths(self, node: str, stretch: Stretch) -> list[float]:
        times = [t for t in self.steps(node) if stretch.begin <= t <= stretch.end]
        # Include both ends: a rank may have been stuck from the start, or until the end.
        marks = [stretch.begin, *times, stretch.end]
        return [later - earlier for earlier, later in pairwise(marks)]

    def assert_every_byte_is_here(self) -> None:
        """Compare the controller's copies with the nodes' own files."""
        originals = self._originals()
        assert len(originals) == 2 * len(self.lab.nodes)
        for path, original in originals.items():
            assert _digest(self._kept / "logs" / path) == _digest(original), path

    def original(self, path: str) -> Path:
        """The file of a stream, such as node1/attempt-0/rank-1.out."""
        return self._originals()[path]

    def _originals(self) -> dict[str, Path]:
        return {
            f"{node}/{file.relative_to(self.folder(node))}": file
            for node in self.lab.nodes
            for file in self.folder(node).glob("attempt-*/rank-*")
            if file.suffix in (".out", ".err")
        }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
