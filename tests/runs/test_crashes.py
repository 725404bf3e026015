"""A controller may crash at any step of what it writes: the run is found again and continued."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.runs.registry import all_runs, find_run, unreadable_runs
from orchestrator.runs.saved_run import SavedRun
from tests.homes import copy_node
from tests.warm import Warm

pytestmark = pytest.mark.cluster

_CRASHING = Path(__file__).with_name("crashing.py")
_NEVER, _CRASHED = 1_000_000, 9
_LAUNCH = ("launch", "--local", "2", "--preflight", "off", "--launcher", "direct", "--name", "it")
# The number of steps, evenly chosen, that are tried; ORCH_CRASH_EVERYWHERE=1 tries all.
_SAMPLE = 4

JOB = """
import os, sys, time
rank = os.environ["RANK"]
print("begin", rank, flush=True)
time.sleep(0.05)
print("warning of", rank, file=sys.stderr, flush=True)
time.sleep(0.05)
print("x" * 100_000, "end", rank, flush=True)
"""


class Place:
    """A home folder, in which one run after the other is tried."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self._warm = warm
        self._environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.folder = folder
        self.script = folder / "job/train.py"
        self.script.parent.mkdir()
        self.script.write_text(JOB)
        self.runs = folder / ".local/state/orch/runs"

    def crash(self, step: int, words: Sequence[str | Path], code: int = 0) -> list[str]:
        """Run orch and crash it at `step`; return its steps, of which the last is half done.

        Their number depends on how output is read: it may end before, with `code`.
        """
        trace = self.folder / "trace"
        trace.unlink(missing_ok=True)
        environment = {"ORCH_CRASH_STEP": str(step), "ORCH_CRASH_TRACE": str(trace)}
        done = self._warm.run(
            list(map(str, words)), self._environment | environment, Path.cwd(), prelude=_CRASHING
        )
        steps = trace.read_text().splitlines()
        assert done.returncode == (_CRASHED if len(steps) > step else code), done.stderr
        return steps

    def keep(self, run: str) -> None:
        done = self._warm.run(["control", run], self._environment, Path.cwd())
        assert (done.returncode, done.stderr) == (0, "")

    def start_over(self) -> None:
        if self.runs.exists():
            shutil.rmtree(self.runs)


@pytest.fixture
def place(tmp_path: Path, used_home: Path, warm: Warm) -> Place:
    copy_node(used_home, tmp_path)
    return Place(tmp_path, warm)


def chosen(count: int) -> range:
    """Return the steps at which to crash, out of `count`."""
    return range(0, count, 1 if os.environ.get("ORCH_CRASH_EVERYWHERE") else -(-count // _SAMPLE))


def test_launch_that_crashes_at_any_step_leaves_a_run_that_is_continued(
    place: Place,
) -> None:
    steps = len(place.crash(_NEVER, [*_LAUNCH, place.script]))
    assert steps > 30
    for step in chosen(steps):
        place.start_over()
        place.crash(step, [*_LAUNCH, place.script])
        assert_it_can_be_finished(place)


def test_background_controller_that_crashes_at_any_step_is_replaced(place: Place) -> None:
    launched = place.crash(_NEVER, [*_LAUNCH, place.script])
    begun = next(n for n, step in enumerate(launched) if step.endswith(".out"))

    def crash_early() -> str:
        place.start_over()
        place.crash(begun, [*_LAUNCH, place.script])
        return find_run("it", place.runs).run

    steps = len(place.crash(_NEVER, ["control", crash_early()]))
    assert steps > 20
    for step in chosen(steps):
        place.crash(step, ["control", crash_early()])
        assert_it_can_be_finished(place)


def test_launch_with_restarts_that_crashes_at_any_step_has_no_extra_attempt(
    place: Place,
) -> None:
    failing = place.script.with_name("fail.py")
    failing.write_text("import os, sys\nsys.exit(3 + int(os.environ['ORCH_ATTEMPT']))\n")
    words = [*_LAUNCH, "--restarts", "1", str(failing)]
    steps = len(place.crash(_NEVER, words, code=4))
    for step in chosen(steps):
        place.start_over()
        place.crash(step, words, code=4)
        if all_runs(place.runs) == []:
            continue  # it crashed before there was a record, so before anything was started
        run = find_run("it", place.runs).run
        place.keep(run)
        saved = find_run(run, place.runs)
        assert (saved.state, saved.controller) == ("ended", None)
        assert saved.exit_code in (1, 3, 4)  # 1: it was about to start
        had = {folder.name for folder in place.runs.glob("*/local*/attempt-*")}
        assert had <= {"attempt-0", "attempt-1"}
        assert len(saved.failed) <= 1
        assert processes_of(run) == []


def assert_it_can_be_finished(place: Place) -> None:
    try:
        run = find_run("it", place.runs).run
    except UsageError as error:
        # It crashed before there was a record, so before anything was started.
        assert all_runs(place.runs) == []
        folders = list(place.runs.iterdir()) if place.runs.exists() else []
        assert unreadable_runs(place.runs) == folders
        wanted = "has no record of a run that can be read" if folders else "there is no run 'it'"
        assert wanted in error.message
        assert (
            list(place.runs.glob("*/local*")) == []
        )  # which a node makes when it starts its share
        return
    place.keep(run)
    (saved,) = all_runs(place.runs)
    assert saved == find_run(run, place.runs)
    assert (saved.state, saved.missing, saved.controller) == ("ended", (), None)
    assert processes_of(run) == []
    assert copies(saved) == originals(saved)
    if originals(saved):
        assert saved.exit_code == 0
    else:
        assert "has no files of this run" in saved.summary  # it crashed at the start
    for line in (saved.folder / "run.json").read_text(), *whole_lines(saved):
        json.loads(line)


def whole_lines(saved: SavedRun) -> list[str]:
    """Return the lines of the event log, except those that a crash has cut."""
    lines = (saved.folder / "events.jsonl").read_text().splitlines()
    assert sum(not line.endswith("}") for line in lines) <= 2
    return [line for line in lines if line.endswith("}")]


def copies(saved: SavedRun) -> dict[str, str]:
    return {
        f"{node.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for node in saved.plan.nodes
        for file in (saved.logs / node.name).glob("attempt-0/rank-*")
    }


def originals(saved: SavedRun) -> dict[str, str]:
    """The nodes are embedded, so their own files are below the run's folder too."""
    return {
        f"{node.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for node in saved.plan.nodes
        for file in (saved.folder / node.name).glob("attempt-0/rank-*")
        if file.suffix in (".out", ".err")
    }


def processes_of(run: str) -> list[int]:
    """Return the processes of the run that are left after a moment."""
    deadline = time.monotonic() + 5
    while (found := _processes_of(run)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _processes_of(run: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"ORCH_RUN={run}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
