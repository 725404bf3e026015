"""A launcher whose processes serve one script: they last as long as it, and the run is the script's."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.node import scratch
from orchestrator.plan.launchers.registry import GROUP
from tests.util.packages import install

from .orch import Orch

pytestmark = pytest.mark.cluster

LAUNCHER = '''
"""Serve a script by a process a node, which fails if `fail` is beside the script."""

from orchestrator.node import scratch
from orchestrator.plan.launchers.base import Launcher, Process

SERVE = """
trap 'exit 0' TERM
cd "$MEET"
while [ ! -e fail-$1 ]; do echo $1 > up-$1; sleep 0.05; done
exit 9
"""


class Served(Launcher):
    name = "served"
    help = "once"
    runs_once = True

    def processes(self, share, job):
        serve = Process("launcher", ("sh", "-c", SERVE, "serve", f"{share.node_rank}"))
        script = Process("rank-0", job.rank_command(share.python), rank=0, local_rank=0)
        return (serve,) if share.node_rank else (serve, script)


LAUNCHER = Served()
'''
# It waits for what serves it; when it is stopped, it uses the one on the last node once more.
SCRIPT = """
import os, pathlib, signal, sys, time
os.chdir(os.environ["MEET"])
def await_server(number):
    pathlib.Path(f"up-{number}").unlink(missing_ok=True)
    end = time.monotonic() + 5
    while time.monotonic() < end and not os.path.exists(f"up-{number}"): time.sleep(0.02)
    return os.path.exists(f"up-{number}")
def save(*_):
    print("saved", await_server(2), flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print("served", all(map(await_server, range(3))), "PYTHON_EXEC" in os.environ, flush=True)
if sys.argv[1] == "fail": pathlib.Path("fail-1").touch()
if not sys.argv[1].isdigit(): time.sleep(60)
sys.exit(int(sys.argv[1]))
"""
RUN = ("launch", "--local", "3", "--preflight", "off", "--launcher", "served", "--name", "served",
       "--env", "MEET")  # fmt: skip


@pytest.fixture
def served(orch: Orch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Orch:
    """Run `orch` with the launcher, in a folder with the script."""
    packages = tmp_path_factory.mktemp("packages")
    install(
        packages, "orch-served", GROUP, {"served": "orch_served:LAUNCHER"}, orch_served=LAUNCHER
    )
    (tmp_path / "t.py").write_text(SCRIPT)
    meet = tmp_path_factory.mktemp("meet")  # each node has a folder of its own otherwise
    more = {"PYTHONPATH": str(packages), "MEET": str(meet)}
    return lambda *words: orch(*words, **more)


def left(run: str) -> list[str]:
    """Return the processes of the run on this machine."""
    tag = b"ORCH_RUN=" + run.encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [folder.name] if tag in environment else []
    return found


@pytest.mark.parametrize(
    ("code", "summary"), [("0", "the script succeeded"), ("7", "exited with 7")]
)
def test_run_ends_with_the_script_and_what_served_it_is_stopped(
    served: Orch, code: str, summary: str
) -> None:
    done = served(*RUN, "t.py", code)
    assert (done.returncode, done.stdout.partition("│ ")[2]) == (int(code), "served True False\n")
    assert summary in done.stderr
    assert left("served") == []
    assert not Path(scratch.folder_of("served")).exists()


def test_failure_of_what_serves_the_script_ends_the_run(served: Orch) -> None:
    done = served(*RUN, "t.py", "fail")
    assert done.returncode == 9, done.stderr
    assert "exited with 9" in done.stderr
    assert "saved True" in done.stdout
    assert left("served") == []


def test_stopped_script_is_served_until_it_has_ended(served: Orch) -> None:
    assert served(*RUN, "--detach", "t.py", "wait").returncode == 0
    status = served("status", "served")
    assert "3 nodes, 1 rank, served" in status.stdout
    assert served("stop", "served", "--grace", "10").returncode == 0
    assert "saved True" in served("logs", "served").stdout
    assert left("served") == []
