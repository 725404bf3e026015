"""The controller's disk is full when an attempt or the run ends: no extra attempt, and one verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from orchestrator.control.restarts import FAILED_UNSEEN
from orchestrator.runs.lock import find_controller

from .orch import ORCH, controllers, orch, processes_of_runs, run_name, wait_until, write

pytestmark = pytest.mark.lab

# Rank 1 fails in every attempt; attempt N ends once /tmp has a file `<run>.N`.
FAILING = """
import os, sys, time
attempt, rank = int(os.environ["ORCH_ATTEMPT"]), int(os.environ["RANK"])
print("attempt", attempt, flush=True)
while not os.path.exists("/tmp/%s.%d" % (os.environ["ORCH_RUN"], attempt)):
    time.sleep(0.02)
sys.exit(3 + attempt if rank == 1 else 0)
"""


class Place:
    """A controller of a lab that keeps its runs on a separate disk."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self._mount = lab.home / name
        self._mount.mkdir()
        self.env = {"XDG_STATE_HOME": str(self._mount)}
        self._do("mount", "-t", "tmpfs", "-o", "size=4m", "none", self._mount)

    def _do(self, *words: str | Path) -> None:
        done = self._lab.run(words)
        assert done.returncode == 0, done.stderr

    @property
    def seen(self) -> Path:
        """The path of the disk on this machine."""
        return Path(f"/proc/{self._lab.pid('ctl')}/root{self._mount}")

    def fill(self, *, with_reserves: bool = False) -> None:
        """Fill the disk; `with_reserves` also takes the space that orch has reserved."""
        with (self.seen / "filler").open("wb", buffering=0) as file, suppress(OSError):
            if with_reserves:
                for reserve in self.seen.glob("orch/runs/*/*.reserve"):
                    reserve.unlink()
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        (self.seen / "filler").unlink()

    def unmount(self) -> None:
        self._do("umount", "-l", self._mount)

    def orch(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return orch(self._lab, *words, env=self.env)

    def launch(self, folder: Path, *words: str) -> subprocess.Popen[bytes]:
        """Start a launch of FAILING with one restart; its output goes to files in `folder`."""
        script = write(folder / "job", "fail.py", FAILING)
        given = ["-i", str(self._lab.inventory), "--nodes", "node[0-1]", "--launcher", "direct"]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            return self._lab.popen(
                [*ORCH, "launch", *given, "--preflight", "off", "--restarts", "1", *words, str(script)],
                env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def folder(self) -> Path:
        """Return run.json of the only run."""
        (folder,) = (self.seen / "orch/runs").iterdir()
        return folder

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def end_attempt(self, number: int) -> None:
        """End the ranks of this attempt, once all of them run."""
        run = self.folder.name
        wait_until(lambda: self.attempts_had(number) == 2, 60)
        for node in self._lab.nodes[:2]:
            (self._lab.files(node) / f"tmp/{run}.{number}").touch()

    def attempts_had(self, number: int) -> int:
        """Return the number of nodes on which ranks of this attempt have started."""
        logs = f"home/.local/state/orch/runs/{self.folder.name}/*/attempt-{number}/rank-*.out"
        found = [path for node in self._lab.nodes for path in self._lab.files(node).glob(logs)]
        return sum(f"attempt {number}" in path.read_text() for path in found)

    def kill_controller(self) -> None:
        (controller,) = controllers(self._lab, self.folder.name)
        os.kill(controller, signal.SIGKILL)
        wait_until(lambda: find_controller(self.folder) is None)


@pytest.fixture
def place(lab3: Lab, tmp_path: Path) -> Iterator[Place]:
    place = Place(lab3, tmp_path.name)
    yield place
    place.orch("stop", "--all", "--grace", "0")
    place.unmount()


def assert_one_verdict(place: Place, code: int, summary: str) -> None:
    """Check that the run has ended this way, by its record and in the output of commands."""
    assert (place.record["state"], place.record["exit_code"]) == ("ended", code)
    assert place.record["summary"] == summary
    attached = place.orch("attach")
    assert attached.returncode == code
    shown = " ".join(attached.stderr.split())
    assert summary.split(";")[0].split(" (")[0] in shown
    assert json.loads(place.orch("status", "--output", "json").stdout)["exit_code"] == code


def test_run_that_fails_on_a_full_disk_is_recorded_as_ended_at_once(
    place: Place, lab3: Lab, tmp_path: Path
) -> None:
    launched = place.launch(tmp_path)
    wait_until(lambda: (place.seen / "orch/runs").exists(), 60)
    place.end_attempt(0)
    wait_until(lambda: place.attempts_had(1) == 2, 60)
    place.fill()
    place.end_attempt(1)
    assert launched.wait(60) == 4, (tmp_path / "err").read_text()
    summary = "rank 1 on node1 exited with 4 (attempt 2 of 2)"
    assert summary in " ".join((tmp_path / "err").read_text().split())
    assert (place.record["state"], place.record["exit_code"]) == ("ended", 4)
    place.make_room()
    assert place.orch("logs").returncode == 0
    assert_one_verdict(place, 4, summary)
    assert place.attempts_had(2) == 0
    assert processes_of_runs(lab3, place.folder.name) == []


def test_unwritten_end_of_a_run_is_recorded_by_the_next_command(
    place: Place, lab3: Lab, tmp_path: Path
) -> None:
    launched = place.launch(tmp_path)
    wait_until(lambda: (place.seen / "orch/runs").exists(), 60)
    place.end_attempt(0)
    wait_until(lambda: place.attempts_had(1) == 2, 60)
    place.fill(with_reserves=True)
    place.end_attempt(1)
    assert launched.wait(90) == 4
    said = " ".join((tmp_path / "err").read_text().split())
    assert "the end of the run cannot be recorded in" in said
    assert f"free disk space, then `orch status {place.folder.name}` records its end" in said
    assert place.record["state"] == "running"
    place.make_room()
    assert place.orch("status").returncode == 0
    wait_until(lambda: place.record["state"] == "ended")
    assert_one_verdict(place, 4, "rank 1 on node1 exited with 4 (attempt 2 of 2)")
    assert place.attempts_had(2) == 0


def test_attempt_starts_only_once_it_can_be_recorded(
    place: Place, lab3: Lab, tmp_path: Path
) -> None:
    launched = place.launch(tmp_path)
    wait_until(lambda: (place.seen / "orch/runs").exists(), 60)
    wait_until(lambda: place.attempts_had(0) == 2, 60)
    place.fill(with_reserves=True)
    place.end_attempt(0)
    wait_until(lambda: "the next attempt waits" in (tmp_path / "err").read_text(), 60)
    assert place.attempts_had(1) == 0
    place.make_room()
    place.end_attempt(1)
    assert launched.wait(60) == 4
    assert_one_verdict(place, 4, "rank 1 on node1 exited with 4 (attempt 2 of 2)")


def test_controller_that_takes_over_restarts_a_live_run_but_not_a_failed_one(
    place: Place, lab3: Lab, tmp_path: Path
) -> None:
    launched = place.launch(tmp_path, "--detach", "--restarts", "2")
    assert launched.wait(60) == 0, (tmp_path / "err").read_text()
    run = run_name((tmp_path / "err").read_text())
    place.kill_controller()
    assert place.orch("status", run).returncode == 0  # returns once a controller follows
    place.end_attempt(0)
    wait_until(lambda: place.attempts_had(1) == 2, 60)
    place.kill_controller()
    place.end_attempt(1)
    wait_until(lambda: processes_of_runs(lab3, run) == [], 60)
    assert place.orch("logs", run).returncode == 0
    wait_until(lambda: place.record["state"] == "ended", 60)
    assert_one_verdict(place, 4, f"rank 1 on node1 exited with 4 (attempt 2 of 3); {FAILED_UNSEEN}")
    assert place.attempts_had(2) == 0


def test_run_is_stopped_while_the_disk_is_full(place: Place, lab3: Lab, tmp_path: Path) -> None:
    launched = place.launch(tmp_path, "--detach")
    assert launched.wait(60) == 0, (tmp_path / "err").read_text()
    wait_until(lambda: place.attempts_had(0) == 2, 60)
    place.fill()
    stopped = place.orch("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert (place.record["state"], place.record["exit_code"]) == ("ended", 130)
    assert processes_of_runs(lab3, place.folder.name) == []


def test_failure_is_reported_with_full_disks_on_both_sides(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    place = Place(lab, "state")
    theirs = "/root/.local/state/orch"
    lab.run(["mkdir", "-p", theirs], node="node0")
    mounted = lab.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", theirs], node="node0")
    assert mounted.returncode == 0, mounted.stderr
    source = (
        "import os, sys\n"
        "try:\n    open(os.environ['ORCH_DIR'] + '/fill', 'wb').write(bytes(8_000_000))\n"
        "except OSError as error:\n"
        "    while not os.path.exists('/tmp/go'): pass\n"
        "    os._exit(7)\n"
    )
    script = write(tmp_path / "job", "fill.py", source)
    given = [
        "-i",
        str(lab.inventory),
        "--launcher",
        "direct",
        "--preflight",
        "off",
        "--restarts",
        "1",
    ]
    process = lab.popen(
        [*ORCH, "launch", *given, str(script)],
        env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(lambda: processes_of_runs(lab) != [], 60)
        place.fill()
        (lab.files("node0") / "tmp/go").touch()
        _, err = process.communicate(timeout=100)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == 7, err
    assert "rank 0 on node0 exited with 7" in " ".join(err.decode().split())
    assert (place.record["state"], place.record["exit_code"]) == ("ended", 7)
    assert place.orch("attach").returncode == 7
    assert processes_of_runs(lab) == []
