"""`orch fetch` and `orch push`, with nodes embedded in this machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .fake_run import FakeRun
from .orch import Orch

pytestmark = pytest.mark.cluster

SCRIPT = """\
import os, sys
rank = int(os.environ["RANK"])
os.makedirs("ckpt", exist_ok=True)
with open("ckpt/last.pt", "wb") as file:
    file.write(b"rank %d" % rank * 1000)
with open("metrics.csv", "w") as file:
    file.write("loss\\n")
sys.exit(int(sys.argv[1]))
"""

LAUNCH = ("launch", "--launcher", "direct", "--preflight", "off")


def run_name(stderr: str) -> str:
    return stderr.split("run ", 1)[1].split(":", 1)[0]


Launch = Callable[..., tuple[str, str, int]]


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The home is where the tests work."""
    shutil.copytree(environment["HOME"], tmp_path, dirs_exist_ok=True)
    return {**environment, "HOME": str(tmp_path)}


@pytest.fixture
def launch(orch: Orch, tmp_path: Path) -> Launch:
    """Launch the script, which exits with this code; return the run, what orch said, its code."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/t.py").write_text(SCRIPT)
    (tmp_path / "job/other.py").write_text("")

    def launched(code: int = 0, *words: str, nodes: int = 1) -> tuple[str, str, int]:
        done = orch(*LAUNCH, "--local", str(nodes), *words, "job/t.py", str(code))
        return run_name(done.stderr), done.stderr, done.returncode

    return launched


def names(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.name.startswith(".orch-"))


def test_fetch_copies_results_and_not_the_script(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    run, said, _ = launch()
    assert "(2 new, 6.0 kB)" in said and f"orch fetch {run}" in said
    assert "(2 new, 6.0 kB)" in orch("status").stdout
    rehearsed = orch("fetch", "--dry-run")
    assert rehearsed.stdout == f"   6.0 kB  {run}/ckpt/last.pt\n      5 B  {run}/metrics.csv\n"
    assert not (tmp_path / run).exists()
    done = orch("fetch")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"local0: fetched 2 files (6.0 kB) into ~/{run}" in done.stderr
    assert names(tmp_path / run) == ["ckpt/last.pt", "metrics.csv"]
    assert (tmp_path / run / "ckpt/last.pt").read_bytes() == b"rank 0" * 1000
    again = orch("fetch", run)
    assert (again.returncode, again.stderr) == (
        0,
        "orch: local0: nothing new, 2 files already here\n",
    )


def test_fetch_keeps_newer_files_here_and_lists_them(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    run, *_ = launch()
    orch("fetch")
    mine = tmp_path / run / "metrics.csv"
    mine.write_text("mine")
    os.utime(mine, (time.time() + 100, time.time() + 100))
    done = orch("fetch")
    assert done.returncode == 0
    assert "metrics.csv: newer here" in done.stderr and "--overwrite" in done.stderr
    assert mine.read_text() == "mine"
    assert orch("fetch", "--overwrite").returncode == 0
    assert mine.read_text() == "loss\n"


def test_fetch_from_nodes_copies_matches_into_a_folder_per_node(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    launch(nodes=2)
    done = orch("fetch", "*.pt", "--nodes", "local[0-1]", "--to", "out")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == ["local0/ckpt/last.pt", "local1/ckpt/last.pt"]
    assert (tmp_path / "out/local1/ckpt/last.pt").read_bytes() == b"rank 1" * 1000


def test_launch_that_fails_fetches_and_keeps_its_exit_code(launch: Launch, tmp_path: Path) -> None:
    run, said, code = launch(7, "--fetch", "ckpt/", "--fetch", "*.none")
    assert code == 7, said
    assert f"local0: fetched 1 file (6.0 kB) into ~/{run}" in said
    assert names(tmp_path / run) == ["ckpt/last.pt"]


def test_fetch_of_a_launch_that_fails_is_a_warning_with_the_remedy(
    launch: Launch, tmp_path: Path
) -> None:
    job = tmp_path / "job/t.py"
    launch()
    # A folder where nothing can be put: the name of the run is a file.
    job.write_text(
        "import os; open(os.path.join(os.environ['HOME'], os.environ['ORCH_RUN']), 'w').close()\n"
        + job.read_text()
    )
    run, said, code = launch(0, "--fetch", "ckpt/")
    assert code == 0, said
    assert "warning: the run's files are not all here" in said
    assert f"orch fetch {run} ckpt/ --to " in said


def test_background_controller_fetches_results(orch: Orch, launch: Launch, tmp_path: Path) -> None:
    run, _, code = launch(0, "--detach", "--fetch", "*.pt")
    assert code == 0
    attached = orch("attach", run)
    assert "(2 new, 6.0 kB)" in attached.stderr
    assert names(tmp_path / run) == ["ckpt/last.pt"]


def test_fetched_files_are_not_synced_back(orch: Orch, launch: Launch, tmp_path: Path) -> None:
    launch()
    assert orch("fetch", "--to", "job/results").returncode == 0
    assert (tmp_path / "job/results/metrics.csv").exists()
    _, said, _ = launch()
    assert "(2 files, unchanged)" in said, "t.py and other.py"


def test_invalid_words_of_fetch_and_push_are_usage_errors(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    FakeRun(tmp_path).end()
    for words, message in (
        (("fetch", "none"), "there is no run 'none'"),
        (("fetch", "none"), "orch fetch latest none"),
        (("fetch", "latest", ""), "matches no file"),
        (("fetch", "latest", "../x"), "is not a path below the working folder"),
        (("fetch", "--nodes", "x"), "has no node 'x'"),
        (("fetch", "--to", "job/t.py"), "not a folder"),
        (("push", "latest", "/etc/passwd"), "not below the current folder"),
        (("push", "latest", "none.txt"), "none.txt: No such file"),
        (("push", "latest"), "PATH"),
        (("launch", "--fetch", "", "job/t.py"), "matches no file"),
    ):
        done = orch(*words)
        assert (done.returncode, done.stdout) == (2, ""), (words, done.stderr)
        assert message in done.stderr and "Traceback" not in done.stderr


def test_push_copies_to_every_node_and_keeps_newer_files(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    launch(nodes=2)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/a.json").write_text("a")
    (tmp_path / "conf/.gitignore").write_text("b.json")
    (tmp_path / "conf/b.json").write_text("b")
    (tmp_path / "metrics.csv").write_text("mine")
    os.utime(tmp_path / "metrics.csv", (0, 0))
    (project,) = (tmp_path / ".local/state/orch/local").glob("job-*")
    work = [project / f"local{n}/work" for n in (0, 1)]
    done = orch("push", "latest", "conf", "metrics.csv")
    assert done.returncode == 0, done.stderr
    for folder in work:
        assert (folder / "conf/a.json").read_text() == "a"
        assert not (folder / "conf/b.json").exists()
        assert (folder / "metrics.csv").read_text() == "loss\n"
    assert "local1: 2 files sent" in done.stderr
    done = orch("push", "latest", "conf/b.json", "metrics.csv", "--overwrite", "--nodes", "local1")
    assert done.returncode == 0, done.stderr
    assert [(folder / "conf/b.json").exists() for folder in work] == [False, True]
    assert (work[1] / "metrics.csv").read_text() == "mine"
