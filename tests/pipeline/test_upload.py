"""A project's files on embedded nodes: their folders, their versions, and the runs that use them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sync import messages
from orchestrator.sync.placement import Comparison, Seen
from tests.homes import copy_node
from tests.warm import Warm

pytestmark = pytest.mark.cluster

# Prints the version of a module that it imports once a file exists; attempt 0 then fails.
LATE = """
import os, sys, time
attempt = int(os.environ["ORCH_ATTEMPT"])
print("up", attempt, flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
import late
print("attempt", attempt, "uses", late.VERSION, flush=True)
sys.exit(3 if len(sys.argv) > 2 and attempt == 0 else 0)
"""


class Orch:
    """`orch` on one embedded node, with its own home folder."""

    def __init__(self, home: Path, warm: Warm) -> None:
        self._warm = warm
        home.mkdir()
        self.home = home
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def words(self, *words: str | Path, nodes: int = 1) -> list[str]:
        local = ["launch", "--local", str(nodes), "--launcher", "direct", "--preflight", "off"]
        return [sys.executable, "-m", "orchestrator", *local, *map(str, words)]

    def launch(self, *words: str | Path, nodes: int = 1) -> subprocess.CompletedProcess[str]:
        line = self.words(*words, nodes=nodes)[3:]
        return self._warm.run(line, self.environment, Path.cwd(), timeout=100)

    def work(self, node: str = "local0") -> Path:
        """Return the working folder of an embedded node."""
        (folder,) = (self.home / ".local/state/orch/local").glob(f"*/{node}/work")
        return folder


@pytest.fixture
def orch(tmp_path: Path, used_home: Path, warm: Warm) -> Orch:
    orch = Orch(tmp_path / "home", warm)
    copy_node(used_home, orch.home)
    return orch


class Going:
    """A launch that waits for a file."""

    def __init__(self, orch: Orch, folder: Path, *words: str) -> None:
        self.folder, self.gate = folder, folder.parent / "gate"
        put(folder, "late.py", 'VERSION = "one"\n')
        options: list[str | Path] = [
            *words,
            folder / "train.py",
            self.gate,
            *(["again"] if words else []),
        ]
        put(folder, "train.py", LATE)
        self.process = subprocess.Popen(
            orch.words(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=orch.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        while "up 0" not in (line := self.process.stdout.readline()):
            assert line, self.process.communicate()[1]
        (run,) = (orch.home / ".local/state/orch/runs").iterdir()
        self.run = run.name

    def end(self) -> str:
        """Create the file, and return the rest of the output."""
        self.gate.touch()
        out, err = self.process.communicate(timeout=100)
        return str(out + err)


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def going(orch: Orch, tmp_path: Path) -> Iterator[Going]:
    going = Going(orch, tmp_path / "exp", "--restarts", "1")
    yield going
    if going.process.poll() is None:
        going.end()


def test_launch_that_would_change_code_of_a_live_run_is_refused(orch: Orch, going: Going) -> None:
    put(going.folder, "late.py", 'VERSION = "two, the second"\n')
    second = put(going.folder, "second.py", "import late; print('second uses', late.VERSION)")
    refused = orch.launch(second)
    assert refused.returncode == 125
    assert f"run {going.run} uses " in refused.stderr
    assert f"orch stop {going.run}" in refused.stderr
    assert not (orch.work() / "second.py").exists()
    elsewhere = orch.launch("--workdir", f"{orch.home}/elsewhere", second)
    assert "second uses two" in elsewhere.stdout, elsewhere.stderr
    said = going.end()
    assert [f"attempt {attempt} uses one" in said for attempt in (0, 1)] == [True, True]
    assert going.process.returncode == 0
    assert "second uses two" in orch.launch(second).stdout, "it has ended"


def test_launch_of_the_same_files_starts_beside_a_live_run(orch: Orch, going: Going) -> None:
    beside = subprocess.Popen(
        orch.words(going.folder / "train.py", going.gate), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=orch.environment,
    )  # fmt: skip
    assert beside.stdout is not None
    while "up 0" not in (line := beside.stdout.readline()):
        assert line, beside.communicate()[1]
    going.end()
    out, err = beside.communicate(timeout=100)
    assert "attempt 0 uses one" in out
    assert "unchanged" in err


def test_restart_after_a_local_edit_uses_the_launched_files(going: Going) -> None:
    put(going.folder, "late.py", 'VERSION = "two"\n')
    said = going.end()
    assert [f"attempt {attempt} uses one" in said for attempt in (0, 1)] == [True, True]


def test_file_changed_on_a_node_is_kept_with_a_warning_unless_overwritten(
    orch: Orch, tmp_path: Path
) -> None:
    folder = tmp_path / "exp"
    script = put(
        folder,
        "train.py",
        "print(open('snapshot.pt').read()); open('snapshot.pt','w').write('200')",
    )
    put(folder, "snapshot.pt", "100")
    first, second = orch.launch(script), orch.launch(script)
    assert ("│ 100" in first.stdout, "kept on" in first.stderr) == (True, False)
    assert "│ 200" in second.stdout
    line = "kept on local0: snapshot.pt (changed there since); --overwrite sends yours"
    assert line in second.stderr
    assert "│ 100" in orch.launch("--overwrite", script).stdout


def test_projects_with_the_same_name_have_different_folders(orch: Orch, tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        put(
            tmp_path / side / "exp",
            "train.py",
            f"import os; print('{side}', *sorted(os.listdir()))",
        )
        put(tmp_path / side / "exp", f"{side}.py", "")
    assert "│ a a.py train.py" in orch.launch(tmp_path / "a/exp/train.py").stdout
    assert "│ b b.py train.py" in orch.launch(tmp_path / "b/exp/train.py").stdout


def test_uneven_file_of_an_earlier_run_is_reported_before_the_start(
    orch: Orch, tmp_path: Path
) -> None:
    text = """
import os
if os.path.exists("snapshot.pt"):
    print("resumes")
elif os.environ["RANK"] == "0":
    open("snapshot.pt", "w").write("1")
"""
    script = put(tmp_path / "exp", "train.py", text)
    assert "snapshot.pt" not in orch.launch(script, nodes=2).stderr
    second = orch.launch(script, nodes=2)
    assert "was left on local0 by an earlier run and is missing on local1" in second.stderr
    assert "resume" in second.stderr


def test_concurrent_launches_of_one_project_place_files_in_turn(orch: Orch, tmp_path: Path) -> None:
    script = put(tmp_path / "exp", "train.py", "print('ran')")
    for number in range(300):
        put(tmp_path / "exp", f"file{number}", "x" * number)
    started = [
        subprocess.Popen(orch.words(script, nodes=2), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, env=orch.environment)
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said


def test_launch_after_one_that_was_killed_while_sending_places_its_files(
    orch: Orch, tmp_path: Path
) -> None:
    script = put(tmp_path / "exp", "train.py", "print('ran')")
    for number in range(400):
        put(tmp_path / "exp", f"file{number}", "x" * 50_000)
    killed = subprocess.Popen(orch.words(script), stderr=subprocess.DEVNULL, env=orch.environment)
    deadline = time.monotonic() + 60
    while not any((orch.home / ".local/state/orch").glob("local/*/local0/work/file*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    for number in range(400):
        put(tmp_path / "exp", f"file{number}", "y" * 40_000)
    done = orch.launch(script)
    assert done.returncode == 0, done.stderr
    assert "kept on" not in done.stderr
    for number in range(400):
        assert (orch.work() / f"file{number}").read_text() == "y" * 40_000


# -- messages ---------------------------------------------------------------------------------------


def comparison(**more: object) -> Comparison:
    fields: dict[str, object] = {
        "send": (), "delete": 0, "kept": (), "kept_count": 0, "left": (), "left_count": 0, "blocked": (),
    }  # fmt: skip
    return Comparison(**{**fields, **more})  # type: ignore[arg-type]


def test_same_files_kept_on_many_nodes_are_one_line() -> None:
    kept = comparison(kept=("a", "b", "c", "d"), kept_count=7)
    lines = list(messages.kept_lines({f"n{number}": kept for number in range(9)}))
    text = "kept on n0, n1, n2 and 6 more: a, b, c and 4 more files (changed there since)"
    assert lines == [f"{text}; --overwrite sends yours"]
    other = comparison(left=("x",), left_count=1)
    assert list(messages.kept_lines({"n0": kept, "n1": other}))[1] == (
        "kept on n1: x (deleted here, changed there since)"
    )


def test_new_folder_of_a_project_is_reported_once() -> None:
    def seen(is_new: bool, source: str) -> Seen:
        passed = (("/h/orch/exp", source),)
        return Seen(
            "/h/orch/exp-2", is_new, passed, (), "", 0.0, False, False, frozenset(), comparison()
        )

    (line,) = messages.folder_lines(
        {"n0": seen(True, "me@laptop:/a/exp"), "n1": seen(True, "me@laptop:/a/exp")}
    )
    assert line.startswith(
        "n0, n1: this project's folder is /h/orch/exp-2: /h/orch/exp belongs to me@laptop:/a/exp"
    )
    assert "workdir: /h/orch/exp" in line
    (line,) = messages.folder_lines({"n0": seen(True, "")})
    assert "/h/orch/exp existed before" in line
    assert list(messages.folder_lines({"n0": seen(False, "")})) == []


def test_names_from_a_node_are_printable_in_messages() -> None:
    lines = messages.kept_lines({"n0": comparison(kept=("\x1b[2J\u202e",), kept_count=1)})
    assert all(line.isprintable() for line in lines)
