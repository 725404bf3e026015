"""Run `orch` from the controller's side of a lab, and inspect what it left."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from labkit.lab import Child, Lab

ORCH = [sys.executable, "-m", "orchestrator"]


def orch(
    lab: Lab, *words: str | Path, timeout: float = 120, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run one `orch` command and wait for it."""
    return lab.run([*ORCH, *map(str, words)], timeout=timeout, **more)


def launch(
    lab: Lab, *words: str | Path, inventory: Path | None = None, timeout: float = 120, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run `orch launch` on the lab's hosts and wait for it."""
    return orch(lab, "launch", "-i", inventory or lab.inventory, *words, timeout=timeout, **more)


class Launch:
    """An `orch launch` that runs during the test."""

    def __init__(self, lab: Lab, *words: str | Path, inventory: Path | None = None) -> None:
        self.lab = lab
        self.process = lab.popen(
            [*ORCH, "launch", "-i", str(inventory or lab.inventory), *map(str, words)],
            bufsize=0,  # so that `communicate` gets what `readline` has not read
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.out: list[str] = []

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)

    def wait_for_lines(self, count: int, containing: str) -> list[str]:
        """Return the first `count` lines with this text; only the test's timeout limits the wait."""
        while sum(containing in line for line in self.out) < count:
            line = _stream(self.process.stdout).readline()
            assert line, f"orch ended: {self.out} {_stream(self.process.stderr).read()!r}"
            self.out.append(line.decode())
        return [line for line in self.out if containing in line]

    def interrupt(self, number: int = signal.SIGINT, timeout: float = 60) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.end(timeout)

    def end(self, timeout: float = 60) -> int:
        """Return the exit code."""
        out, err = self.process.communicate(timeout=timeout)
        self.out += (out or b"").decode(errors="replace").splitlines(keepends=True)
        self.err = err.decode()
        return self.process.returncode


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


class Attach(Launch):
    """An `orch attach` that runs during the test."""

    def __init__(self, lab: Lab, run: str, *words: str | Path) -> None:
        self.lab = lab
        self.process = lab.popen(
            [*ORCH, "attach", run, *map(str, words)],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.out: list[str] = []


# Ranks that work until the test orders one to exit, by a file in /tmp of the rank's node.
OBEYING = """
import os, signal, subprocess, sys, time
clinging = subprocess.Popen(["setsid", "sleep", "1001"])
order = "/tmp/" + os.environ["ORCH_RUN"] + ".leave"
def obey(*_):
    print("asked to stop", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, obey)
print("up", flush=True)
number = 0
while not os.path.exists(order):
    time.sleep(0.02)
    number += 1
    print("line", number, flush=True)
code = int(open(order).read())
print("leaving with", code)
if code == 0:
    clinging.kill()  # or the run would wait for it
sys.exit(code)
"""


def order_to_leave(lab: Lab, run: str, code: int, *nodes: str) -> None:
    """Make the ranks of OBEYING on `nodes` (default: all) exit with `code`."""
    for node in nodes or lab.nodes:
        new = lab.files(node) / "tmp" / f"{run}.new"
        new.write_text(str(code))
        new.rename(new.with_suffix(".leave"))


def latest(lab: Lab) -> str:
    """Return the name of the newest run; skip unreadable records, which other tests leave."""
    began: dict[str, float] = {}
    for file in (lab.home / ".local/state/orch/runs").glob("*/run.json"):
        with suppress(json.JSONDecodeError):
            began[file.parent.name] = float(record(lab, file.parent.name)["began"])
    return max(began, key=lambda run: began[run])


def detached(lab: Lab, *words: str | Path, inventory: Path | None = None) -> str:
    """Launch in the background and return the run's name."""
    done = launch(lab, "--detach", *words, inventory=inventory)
    assert done.returncode == 0, done.stderr
    return run_name(done.stderr)


def controllers(lab: Lab, run: str) -> list[int]:
    """Return the pids, on this machine, of the background controllers of the run."""
    return [p.pid for p in lab.processes("ctl") if p.argv[-1:] == [run] and "control" in p.argv]


def wait_for_end(lab: Lab, run: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until run.json says that the run has ended and no controller is left; return it."""
    wait_until(lambda: record(lab, run)["state"] == "ended", seconds)
    wait_until(lambda: controllers(lab, run) == [])
    return record(lab, run)


def wait_for_copies(lab: Lab, run: str, ranks: int, containing: str, seconds: float = 20) -> None:
    """Wait until the controller's copies of this number of ranks have this text."""
    wait_until(
        lambda: ranks == sum(
            containing in path.read_text() for path in copies(lab, run).glob("*/*/rank-*.out")
        ),
        seconds,
    )  # fmt: skip


def unlike(lab: Lab, run: str) -> list[str]:
    """Return the streams of the run whose copy on the controller differs from the node's file."""
    digests: list[dict[str, str]] = [{}, {}]
    theirs = [
        (node, lab.files(node) / "home/.local/state/orch/runs" / run / node) for node in lab.nodes
    ]
    ours = [(node, copies(lab, run) / node) for node in lab.nodes]
    for found, folders in zip(digests, (theirs, ours), strict=True):
        for node, folder in folders:
            for path in [*folder.glob("attempt-*/*.out"), *folder.glob("attempt-*/*.err")]:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if path.stat().st_size > 0:
                    found[f"{node}/{path.relative_to(folder)}"] = digest
    there, here = digests
    assert there, "the nodes have nothing of it"
    return sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))


def run_name(stderr: str) -> str:
    """Return the run's name from the output of orch."""
    found = re.search(r"run ([A-Za-z0-9._-]+):? ", stderr)
    assert found, stderr
    return found[1]


def copies(lab: Lab, run: str) -> Path:
    """Return the folder with the controller's copies of a run's logs."""
    return lab.home / ".local/state/orch/runs" / run / "logs"


def record(lab: Lab, run: str) -> dict[str, Any]:
    """Return run.json."""
    found: dict[str, Any] = json.loads(
        (lab.home / ".local/state/orch/runs" / run / "run.json").read_text()
    )
    return found


def processes_of_runs(lab: Lab, run: str | None = None) -> list[tuple[str, Sequence[str]]]:
    """Return (node, argv) of every process on any node that belongs to `run`, by default to any run."""
    tag = b"ORCH_RUN=" + (run.encode() if run else b"")
    return [
        (node, argv)
        for node in lab.nodes
        for _, argv, environ in lab.processes(node)
        if any(entry == tag if run else entry.startswith(tag) for entry in environ.split(b"\0"))
    ]


def agents(lab: Lab) -> list[tuple[str, Sequence[str]]]:
    """Return (node, argv) of every process of orch itself: agents, supervisors, log writers, shims."""
    return [
        (node, argv)
        for node in lab.nodes
        for _, argv, _ in lab.processes(node)
        if any("/orch/node/node-" in word for word in argv)
    ]


def agent_pids(lab: Lab) -> set[int]:
    """Return the pids of the same processes on this machine."""
    found = (process for node in lab.nodes for process in lab.processes(node))
    return {each.pid for each in found if any("/orch/node/node-" in word for word in each.argv)}


def read_until(process: Child, text: bytes) -> bytes:
    """Return the stderr of orch up to a line with this text."""
    assert process.stderr is not None
    read = b""
    while text not in read:
        line = process.stderr.readline()
        assert line, read
        read += line
    return read


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until `condition` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def write(folder: Path, name: str, text: str) -> Path:
    """Write a script into a separate folder, which is the one that is synced."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(text)
    return script
