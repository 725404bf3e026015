"""The working folder on real hosts: its owner, which version of a file wins, and its state after a kill."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, Launch, latest, launch, orch, wait_until, write

pytestmark = pytest.mark.lab

DIRECT = ("--launcher", "direct", "--nproc", "1")
GATED = """
import os, sys, time
print("up", flush=True)
while not os.path.exists("/tmp/late.gate"):
    time.sleep(0.02)
import late
print("uses", late.VERSION, flush=True)
open("written.txt", "w").write(late.VERSION)
"""
WHERE = "import os, helper; print(helper.NAME, os.getcwd())"


def folders(lab: Lab, node: str, name: str) -> list[str]:
    """The names of the working folders of projects with this name."""
    return sorted(path.name for path in (lab.files(node) / "home/orch").glob(f"{name}*"))


def test_projects_with_the_same_name_get_separate_folders(lab3: Lab, tmp_path: Path) -> None:
    scripts = []
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        scripts.append(write(tmp_path / side / "twins", "train.py", WHERE))
        write(tmp_path / side / "twins", "helper.py", f"NAME = {side!r}")
    said = [launch(lab3, "--nodes", "node0", *DIRECT, script) for script in (*scripts, *scripts)]
    for done, side in zip(said, "abab", strict=True):
        folder = "twins" if side == "a" else "twins-2"
        assert f"│ {side} " in done.stdout, done.stderr
        assert done.stdout.rstrip().endswith(f"/orch/{folder}")
    assert "this project's folder is " in said[1].stderr
    assert str(tmp_path / "a/twins") in said[1].stderr
    assert "this project's folder is " not in said[3].stderr
    assert folders(lab3, "node0", "twins") == ["twins", "twins-2"]
    # Read-only commands find the same folder.
    dry = launch(lab3, "--nodes", "node0", *DIRECT, "--dry-run", scripts[1])
    assert "/orch/twins-2 &&" in dry.stdout
    no_sync = lab3.run(
        [*ORCH, "launch", "-i", str(lab3.inventory), "--nodes", "node0", *DIRECT, "--no-sync", "train.py"],
        cwd=tmp_path / "b/twins",
    )  # fmt: skip
    assert "│ b " in no_sync.stdout, no_sync.stderr


def test_newer_checkpoint_on_the_node_is_not_overwritten(lab3: Lab, tmp_path: Path) -> None:
    text = """
step = int(open("snapshot.pt").read())
print("resumes at", step)
open("snapshot.pt", "w").write(str(step + 100))
"""
    script = write(tmp_path / "stale", "train.py", text)
    write(tmp_path / "stale", "snapshot.pt", "100")
    said = [launch(lab3, "--nodes", "node0", *DIRECT, script) for _ in range(3)]
    steps = [
        line.split()[-1] for done in said for line in done.stdout.splitlines() if "resumes" in line
    ]
    assert steps == ["100", "200", "300"]
    assert "kept on" not in said[0].stderr
    for done in said[1:]:
        assert (
            "kept on node0: snapshot.pt (changed there since); --overwrite sends yours"
            in done.stderr
        )


def test_code_of_a_live_run_is_not_replaced_by_another_launch(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "late", "train.py", GATED)
    write(tmp_path / "late", "late.py", 'VERSION = "one"')
    with Launch(lab3, "--nodes", "node[0-1]", *DIRECT, script) as first:
        first.wait_for_lines(2, "up")
        run = latest(lab3)
        write(tmp_path / "late", "late.py", 'VERSION = "two!"')
        refused = launch(lab3, "--nodes", "node[1-2]", *DIRECT, script)
        assert refused.returncode == 125
        assert f"run {run} uses " in refused.stderr
        assert " on node1" in refused.stderr
        for node in ("node0", "node1"):
            (lab3.files(node) / "tmp/late.gate").touch()
        assert first.end() == 0
        assert sum("uses one" in line for line in first.out) == 2


def test_sync_that_is_killed_leaves_no_partial_file_and_the_next_completes(
    lab3: Lab, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    script = write(folder, "train.py", "print('ran')")
    data = bytes(range(256)) * 4096
    for number in range(60):
        (folder / f"part{number}").write_bytes(data)
    words = [*ORCH, "launch", "-i", str(lab3.inventory), "--nodes", "node0", *DIRECT, str(script)]
    work = lab3.files("node0") / "home/orch/killed"
    process = lab3.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(work.glob("part*")), 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = [path for path in work.glob("part*") if path.is_file()]
    assert all(path.stat().st_size == len(data) for path in there)
    for number in range(0, 60, 2):
        (folder / f"part{number}").write_bytes(data[::-1])
    done = launch(lab3, "--nodes", "node0", *DIRECT, script)
    assert done.returncode == 0, done.stderr
    assert "kept on" not in done.stderr
    for number in range(60):
        expected = data[::-1] if number % 2 == 0 else data
        assert (work / f"part{number}").read_bytes() == expected
    assert "unchanged" in launch(lab3, "--nodes", "node0", *DIRECT, script).stderr


def test_hosts_that_share_their_home_agree_on_one_folder(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2, shared_home=True)
    for side, folder in (("a", "both"), ("b", "both-2")):
        (tmp_path / side).mkdir()
        script = write(tmp_path / side / "both", "train.py", WHERE)
        write(tmp_path / side / "both", "helper.py", f"NAME = {side!r}")
        for state in ("1 of 2 folders", "unchanged"):
            done = launch(lab, *DIRECT, script)
            assert done.stdout.count(f"│ {side} ") == 2, done.stderr
            assert done.stdout.count(f"/orch/{folder}\n") == 2
            assert state in done.stderr
    assert {path.name for path in (lab.dir / "shared-home/orch").iterdir()} == {"both", "both-2"}
    helper = write(tmp_path / "b" / "both", "helper.py", "NAME = 'b, new'")
    done = launch(lab, *DIRECT, tmp_path / "b/both/train.py")
    assert done.stdout.count("│ b, new ") == 2
    assert "1 of 2 folders (the others are shared)" in done.stderr

    # Changes there are kept, whichever host the next launch uses.
    theirs = lab.dir / "shared-home/orch/both-2/helper.py"
    theirs.write_text("NAME = 'b, theirs'")
    helper.write_text("NAME = 'b, newer'")
    for node in ("node0", "node1"):
        done = launch(lab, "--nodes", node, *DIRECT, tmp_path / "b/both/train.py")
        assert "│ b, theirs " in done.stdout
        assert f"kept on {node}: helper.py (changed there since)" in done.stderr
    done = launch(lab, "--nodes", "node1", "--overwrite", *DIRECT, tmp_path / "b/both/train.py")
    assert "│ b, newer " in done.stdout


def test_run_on_a_shared_home_keeps_its_code(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab(2, shared_home=True)
    script = write(tmp_path / "live", "train.py", GATED)
    late = write(tmp_path / "live", "late.py", 'VERSION = "one"')
    with Launch(lab, "--nodes", "node0", *DIRECT, script) as first:
        first.wait_for_lines(1, "up")
        late.write_text('VERSION = "two!"')
        refused = launch(lab, "--nodes", "node1", *DIRECT, script)
        assert refused.returncode == 125
        assert f"run {latest(lab)} uses " in refused.stderr
        (lab.files("node0") / "tmp/late.gate").touch()
        assert first.end() == 0
    done = orch(lab, "fetch", "--nodes", "node0", "--to", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/node0/written.txt").read_text() == "one"


def test_preflight_checks_the_folder_of_the_project(lab3: Lab, tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        write(tmp_path / side / "looked", "train.py", "print('x')")
        script = tmp_path / side / "looked/train.py"
        assert launch(lab3, "--nodes", "node0", *DIRECT, script).returncode == 0
    words = ["-i", str(lab3.inventory), "--nodes", "node0", "--only", "disk", "--output", "json"]
    shown = orch(lab3, "preflight", *words, tmp_path / "b/looked/train.py").stdout
    assert "orch/looked-2" in shown


def test_spare_gets_the_files_of_the_launch(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab(3)
    text = lab.inventory.read_text()
    assert "{name: node1," in text
    inventory = tmp_path / "spare.yaml"
    inventory.write_text(text.replace("{name: node1,", "{name: node1, spare: true,"))
    source = """
import os, time
import late
print("up", os.environ["ORCH_ATTEMPT"], late.VERSION, flush=True)
time.sleep(600 if os.environ["ORCH_ATTEMPT"] == "0" else 0)
"""
    script = write(tmp_path / "spared", "train.py", source)
    write(tmp_path / "spared", "late.py", "VERSION = 'one'")
    quick = ("--node-timeout", "3", "--connect-timeout", "2", "--restarts", "1")
    with Launch(lab, *quick, *DIRECT, script, inventory=inventory) as running:
        running.wait_for_lines(2, "up 0 one")
        write(tmp_path / "spared", "late.py", "VERSION = 'another'")
        lab.vanish("node2")
        assert running.end(90) == 0, running.err
    said = sorted(line.split("│ ")[1].strip() for line in running.out if "up 1" in line)
    assert said == ["up 1 one", "up 1 one"]


def test_node_whose_disk_fills_is_reported_and_the_next_launch_completes(
    lab3: Lab, tmp_path: Path
) -> None:
    folder = tmp_path / "filled"
    script = write(folder, "train.py", "print(len(open('data.bin', 'rb').read()))")
    (folder / "data.bin").write_bytes(bytes(range(256)) * (12 << 12))
    there = "/root/orch-filled"
    lab3.run(["mkdir", there], node="node0")
    lab3.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", there], node="node0")
    words = ("--nodes", "node0", "--workdir", there, "--preflight", "off", *DIRECT, script)
    full = launch(lab3, *words)
    assert full.returncode == 125
    assert "node0: " in full.stderr and "is full" in full.stderr, full.stderr
    assert "│" not in full.stdout, "it was not started"
    assert lab3.run(["test", "-e", f"{there}/data.bin"], node="node0").returncode == 1
    lab3.run(["mount", "-o", "remount,size=64m", there], node="node0")
    done = launch(lab3, *words)
    assert f"│ {12 << 20}\n" in done.stdout, done.stderr
    assert "kept on" not in done.stderr


def test_unsent_file_is_reported_before_the_start_and_with_the_failure(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "held", "train.py", "print(len(open('data/train.bin').read()))")
    write(tmp_path / "held/data", "train.bin", "x" * 4096)
    write(tmp_path / "held", ".gitignore", "data/")
    failed = launch(lab3, "--nodes", "node0", *DIRECT, script)
    after = failed.stderr.partition("main node0")[2]
    assert failed.returncode == 1
    for said in (failed.stderr, after, orch(lab3, "diagnose", latest(lab3)).stdout):
        assert "left out by .gitignore:1 (data/)" in said
        assert "!/data/" in said
        assert "shared storage" not in said
    write(tmp_path / "held", ".orchignore", "!/data/")
    done = launch(lab3, "--nodes", "node0", *DIRECT, script)
    assert "│ 4096\n" in done.stdout
    assert ".gitignore" not in done.stderr


# Like a script that saves in its folder on the main node only, and resumes from there.
RESUMING = """
import os, sys
import torch.distributed as dist, torch
dist.init_process_group("gloo")
epoch = torch.load("snapshot.pt")["epoch"] if os.path.exists("snapshot.pt") else 0
while epoch < int(sys.argv[1]):
    dist.all_reduce(torch.ones(1))
    epoch += 1
    if dist.get_rank() == 0:
        torch.save({"epoch": epoch}, "snapshot.pt")
dist.destroy_process_group()
"""


@pytest.mark.torch
def test_snapshot_on_only_one_node_is_reported_before_the_start_and_with_the_lost_peer(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "uneven", "train.py", RESUMING)
    words = ("--nodes", "node[0-1]", *DIRECT, script)
    first = launch(lab3, *words, "2")
    assert first.returncode == 0, first.stderr + first.stdout
    assert "snapshot.pt" not in first.stderr.partition("all 2 ranks")[0]
    second = launch(lab3, *words, "4")
    warning = "snapshot.pt, which the script opens, was left on node0 by an earlier run"
    assert warning in " ".join(second.stderr.split())
    assert second.returncode == 1, second.stderr
    for said in (second.stderr, orch(lab3, "diagnose", latest(lab3)).stdout):
        assert "snapshot.pt of an earlier run was on node0 and not on node1" in " ".join(
            said.split()
        )
