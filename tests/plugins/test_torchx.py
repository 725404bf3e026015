"""orch as a scheduler of torchx: its real command line starts, reads, cancels and lists runs.

`ORCH_TORCHX` is a Python that has torchx, torch and what orch needs. The entry points are those of
plugins/torchx/pyproject.toml.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.homes import copy_node

PYTHON = os.environ.get("ORCH_TORCHX", "")
PLUGIN = Path(__file__).parents[2] / "plugins" / "torchx"
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="needs ORCH_TORCHX, a Python with torchx and torch"),
    pytest.mark.cluster,
    pytest.mark.torch,
    pytest.mark.timeout(240),
]

TRAIN = """\
import os, sys, time
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], *sys.argv[1:], flush=True)
print("to stderr", os.environ["TORCHX_JOB_ID"], file=sys.stderr, flush=True)
if "wait" in sys.argv:
    time.sleep(300)
if "fail" in sys.argv and os.environ["RANK"] == "2":
    raise ValueError("no such column")
"""
REQUESTS = """
from orch_torchx import request_for
from torchx.components import dist, utils
def request(app, **cfg):
    made = request_for(app.roles[0], app.name, {"local": True, **cfg})
    options = {k: v for k, v in made.options.items() if k not in ("env", "name") and v is not None}
    return made.script, made.arguments, options
ddp = request(dist.ddp("--lr", "0.1 $x", script="my train.py", j="2x4"))
assert ddp == ("my train.py", ("--lr", "0.1 $x"),
    {"launcher": "torchrun", "local": 2, "nproc": "4"}), ddp
module = request(dist.spmd("a", m="pkg.train", j="1x2", max_retries=3), launcher="direct")
assert module == ("pkg.train", ("a",),
    {"launcher": "direct", "local": 1, "nproc": "2", "module": True, "restarts": 3}), module
elastic = request(dist.ddp(script="t.py", j="1:3x2"))
assert elastic[2]["elastic"] == "1:3", elastic
echo = request(utils.echo(msg="it's ${replica_id}/${app_id}", num_replicas=2))
assert echo[0] == "sh" and echo[1][0] == "-c" and "$GROUP_RANK" in echo[1][1], echo
assert echo[2] == {"local": 2, "launcher": "direct", "nproc": 1, "no_python": True}, echo
plain = request(utils.sh("ls", "-l"))
assert plain[0] == "sh" and plain[1][-1] == "ls -l", plain
app = dist.ddp(script="t.py", j="2x1")
app.roles[0].args[1] += ""
app.roles[0].args[1] = app.roles[0].args[1].replace("--tee", "--no-such-option")
for wrong, cfg in ((app, {}), (dist.ddp(script="t.py", j="9x1"), {"local": False, "hosts": "a,b"})):
    try:
        request(wrong, **cfg)
    except ValueError as error:
        print(error)
"""


@pytest.fixture
def project(tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script, a home of the test's own, and torchx with the plug-in."""
    home, folder, site = tmp_path / "home", tmp_path / "project", tmp_path / "site"
    for each in (home, folder, site / "orch_torchx-0.dist-info"):
        each.mkdir(parents=True)
    copy_node(used_home, home)
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    names = project["entry-points"]["torchx.schedulers"]
    info = site / "orch_torchx-0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: orch_torchx\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in names.items()]
    (info / "entry_points.txt").write_text("\n".join(["[torchx.schedulers]", *lines, ""]))
    (folder / "train.py").write_text(TRAIN)
    paths = [str(site), str(PLUGIN), str(PLUGIN.parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.chdir(folder)
    return folder


def torchx(*words: str, fails: bool = False) -> str:
    """Return what a command of torchx prints."""
    main = "import sys; from torchx.cli.main import main; sys.argv[0] = 'torchx'; main()"
    done = subprocess.run(
        [PYTHON, "-c", main, *words], capture_output=True, text=True, check=False, timeout=200
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def handle(output: str) -> str:
    found = re.search(r"^orch://torchx/[a-z0-9-]+", output, re.M)
    assert found is not None, output
    return found[0]


def run(*words: str, wait: bool = True, fails: bool = False) -> str:
    options = ("--wait", "--log") if wait else ()
    return torchx(
        "run", "-s", "orch", "-cfg", "local=True,preflight=off", *options, *words, fails=fails
    )


def test_requests_have_the_options_of_launch(project: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-c", REQUESTS], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    no_option, few = done.stdout.splitlines()
    assert no_option.startswith("torchrun unrecognized arguments: --no-such-option")
    assert few.endswith("2 hosts, and t has 9 replicas")


def test_ddp_runs_on_two_nodes_and_each_replica_has_its_log(project: Path) -> None:
    output = run("dist.ddp", "-j", "2x2", "--script", "train.py", "--", "--lr", "0.1")
    app = handle(output)
    assert "Job finished: SUCCEEDED" in output
    for node in (0, 1):
        for rank in (2 * node, 2 * node + 1):
            assert f"train/{node} [{rank}]:rank {rank} of 4 --lr 0.1" in output
    stderr = torchx("log", "--streams", "stderr", f"{app}/train/1")
    assert f"train/1 [3]:to stderr {app}" in stderr and "of 4" not in stderr
    assert "State: SUCCEEDED" in torchx("status", app)
    assert re.search(rf"{app}\s+SUCCEEDED", torchx("list", "-s", "orch"))


def test_failed_rank_fails_its_replica_with_the_error(project: Path) -> None:
    output = run("dist.ddp", "-j", "2x2", "--script", "train.py", "--", "fail", fails=True)
    status = torchx("status", handle(output))
    assert "State: FAILED" in status
    assert re.search(r"train\[1\]:FAILED \(exitcode: 1\)", status)
    assert "error_msg: ValueError: no such column" in status
    assert "*train[0]:CANCELLED" in status


def test_cancelled_app_is_stopped(project: Path) -> None:
    app = handle(run("dist.ddp", "-j", "1x1", "--script", "train.py", "--", "wait", wait=False))
    assert "State: RUNNING" in torchx("status", app)
    torchx("cancel", app)
    assert "State: CANCELLED" in torchx("status", app)
    torchx("cancel", app)


def test_other_program_runs_once_on_each_node_with_its_macros(project: Path) -> None:
    output = run("utils.echo", "--num_replicas", "2", "--msg", "it's ${replica_id} of ${app_id}")
    name = handle(output).rpartition("/")[2]
    assert f"echo/0 [0]:it's 0 of {name}" in output
    assert f"echo/1 [1]:it's 1 of {name}" in output


def test_schedulers_of_torchx_are_still_there(project: Path) -> None:
    for name in ("orch", "local_cwd", "slurm"):
        assert f"{name}:" in torchx("runopts", name)
