"""What orch sees on the node of a failed rank is the cause that it reports, with number and place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Child, Lab

from .failing import control_limit, memory_limit
from .orch import launch, orch, record, run_name, write

pytestmark = pytest.mark.lab

NODE = "node0"
DIRECT = ("--nodes", NODE, "--launcher", "direct", "--preflight", "off")
PLACE = "/root/small"
all_of_them = pytest.mark.skipif(
    os.environ.get("ORCH_VERDICTS") != "all", reason="ORCH_VERDICTS=all runs it"
)

SAVES = f"""
import os
os.makedirs("{PLACE}/ckpt", exist_ok=True)
with open("{PLACE}/ckpt/model.pt", "wb", buffering=0) as file:
    while True:
        file.write(bytes(1 << 16))
"""
MAPS = """
import mmap, os
file = os.open("{path}", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 32 << 20)
mapped = mmap.mmap(file, 32 << 20)
for at in range(0, 32 << 20, 4096):
    mapped[at] = 1
"""
LISTENS = """
import os, socket, time
server = socket.socket()
server.bind(("", 6543))
server.listen()
time.sleep({seconds})
"""
SERVES = """
import socket, sys
server = socket.create_server(("", 6543))
print("up", flush=True)
sys.stdin.read()
"""


def verdict_of(lab: Lab, folder: Path, source: str, *words: str) -> dict[str, Any]:
    """Launch a script that fails on one node; return the verdict, and print what a person sees."""
    done = launch(lab, *DIRECT, *words, write(folder / "job", "train.py", source))
    print(done.stderr)
    assert done.returncode not in (0, 125), done.stderr
    verdict: dict[str, Any] = record(lab, run_name(done.stderr))["verdict"]
    assert verdict["looked"], verdict
    assert "looked: at " in done.stderr
    return verdict


def sh(lab: Lab, command: str) -> None:
    done = lab.run(["sh", "-c", command], node=NODE)
    assert done.returncode == 0, done.stderr


@contextmanager
def small(lab: Lab, *options: str) -> Iterator[None]:
    """Mount a file system at PLACE."""
    sh(lab, f"mkdir -p {PLACE} && mount -t tmpfs -o {','.join(options)} small {PLACE}")
    try:
        yield
    finally:
        sh(lab, f"umount -l {PLACE}")


@contextmanager
def started(lab: Lab, *argv: str) -> Iterator[Child]:
    """Run a program on the node that prints a line and then waits for the end of its stdin."""
    pipe = subprocess.PIPE
    with lab.popen(list(argv), node=NODE, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.stdin.close()


def test_full_disk_is_named_with_its_size(lab3: Lab, tmp_path: Path) -> None:
    with small(lab3, "size=2m"):
        verdict = verdict_of(lab3, tmp_path, SAVES)
        found = orch(lab3, "diagnose")
    assert verdict["signature"] == "disk.full"
    assert verdict["cause"].startswith(f"{PLACE} is full: 0 B of 2.1 MB is free")
    assert f"{PLACE}: 0 B free of 2.1 MB" in verdict["looked"]
    assert f"du -xhd2 {PLACE} |" in verdict["fix"]
    flat = " ".join(found.stdout.split())
    assert f"{PLACE} is full: 0 B of 2.1 MB is free" in flat
    assert "looked: at " in flat


def test_bus_error_on_full_shared_memory_names_it(lab3: Lab, tmp_path: Path) -> None:
    sh(lab3, "mount -o remount,size=4m /dev/shm")
    try:
        verdict = verdict_of(lab3, tmp_path, MAPS.format(path="/dev/shm/batch"))
    finally:
        sh(lab3, "rm -f /dev/shm/batch && mount -o remount,size=50% /dev/shm")
    assert (verdict["signature"], verdict["signal"]) == ("exit.bus", 7)
    assert verdict["cause"].startswith("shared memory, /dev/shm, is full: 0 B of 4.2 MB is free")


def test_holder_of_a_port_is_named_with_its_command(lab3: Lab, tmp_path: Path) -> None:
    with started(lab3, sys.executable, "-c", SERVES, "--token=hunter2") as server:
        verdict = verdict_of(lab3, tmp_path, LISTENS.format(seconds=60))
        assert verdict["signature"] == "net.port-in-use"
        assert "port 6543 is held by process " in verdict["cause"]
        assert "of user root" in verdict["cause"]
        assert "hunter2" not in str(verdict)
        command = re.match(r"kill (\d+) on node0", verdict["fix"])
        assert command is not None
        sh(lab3, f"kill {command[1]}")
        assert server.wait(10) != 0


@all_of_them
def test_ranks_of_a_node_with_one_port_get_the_remedy_for_ranks(lab3: Lab, tmp_path: Path) -> None:
    verdict = verdict_of(lab3, tmp_path, LISTENS.format(seconds=60), "--nproc", "2")
    assert re.search(r"port 6543 is held by rank [01] of this run", verdict["cause"])
    assert "LOCAL_RANK" in verdict["fix"]


@all_of_them
def test_disk_without_inodes_is_named(lab3: Lab, tmp_path: Path) -> None:
    source = f"for n in range(99): open('{PLACE}/' + str(n), 'w')\n"
    with small(lab3, "size=64m", "nr_inodes=20"):
        verdict = verdict_of(lab3, tmp_path, source)
    assert verdict["cause"].startswith(f"{PLACE} has no inodes left (20 in all)")


@all_of_them
def test_read_only_mount_is_named_with_a_working_remedy(lab3: Lab, tmp_path: Path) -> None:
    with small(lab3, "size=64m", "ro"):
        verdict = verdict_of(lab3, tmp_path, f"open('{PLACE}/x', 'w')\n")
        assert verdict["signature"] == "disk.read-only"
        assert verdict["cause"].startswith(f"{PLACE} is mounted read-only")
        remount = re.search(r"`(mount -o remount,rw [^`]+)`", verdict["fix"])
        assert remount is not None
        sh(lab3, remount[1])
        sh(lab3, f"touch {PLACE}/x")


@all_of_them
def test_bus_error_in_a_file_that_was_cut_short_is_not_attributed_to_shared_memory(
    lab3: Lab, tmp_path: Path
) -> None:
    cut = MAPS.format(path="/tmp/data.bin").replace(
        "for at", "os.truncate('/tmp/data.bin', 0)\nfor at"
    )
    verdict = verdict_of(lab3, tmp_path, cut)
    assert verdict["signature"] == "exit.bus"
    assert "a mapped file that was cut short" in verdict["cause"]
    assert "is full" not in verdict["cause"]


@all_of_them
def test_limit_on_open_files_is_that_of_the_rank(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    for process in lab.processes(NODE):
        sh_here = ["prlimit", f"--pid={process.pid}", "--nofile=256:512"]
        subprocess.run(sh_here, check=True)
    source = "import os\nwhile True: os.open('/dev/null', os.O_RDONLY)\n"
    verdict = verdict_of(lab, tmp_path, source)
    assert verdict["signature"] == "limits.files"
    assert verdict["cause"].startswith("it may open 256 files (`ulimit -n`)")
    assert "resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))" in verdict["fix"]
    raised = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))\n"
    script = write(tmp_path / "job", "raised.py", raised)
    assert launch(lab, *DIRECT, script).returncode == 0


@all_of_them
def test_control_group_that_refuses_processes_is_named(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    source = (
        "import threading, time\n"
        "for _ in range(500): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    with control_limit(lab, NODE, "pids", "pids.max", 120):
        verdict = verdict_of(lab, tmp_path, source)
    assert verdict["signature"] == "limits.threads"
    assert "may have 120 processes and threads, and refused to start one" in verdict["cause"]


@all_of_them
@pytest.mark.parametrize("what", ["rank", "worker"])
def test_kill_by_another_process_is_not_lack_of_memory(
    make_lab: Callable[..., Lab], tmp_path: Path, what: str
) -> None:
    lab = make_lab(1)
    rank = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    worker = (
        "import os, signal, subprocess\nworker = subprocess.Popen(['sleep', '60'])\nworker.kill()\n"
        "worker.wait()\nraise RuntimeError(f'DataLoader worker (pid {worker.pid}) is killed by signal: "
        "Killed. ')\n"
    )
    with memory_limit(lab, NODE, 1600 << 20):
        verdict = verdict_of(lab, tmp_path, rank if what == "rank" else worker)
    assert verdict["signature"] == ("exit.kill" if what == "rank" else "loader.killed")
    assert "the kernel counted no kill for lack of memory" in verdict["cause"]
    assert verdict["oom_kills"] is None


@all_of_them
def test_worker_that_ran_out_of_memory_is_the_cause(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    eats = "import os\nheld = []\nwhile True: held.append(bytearray(os.urandom(1) * (16 << 20)))"
    source = (
        f"import subprocess, sys\nworker = subprocess.Popen([sys.executable, '-c', {eats!r}])\n"
        "open(f'/proc/{worker.pid}/oom_score_adj', 'w').write('1000')\nworker.wait()\n"
        "raise RuntimeError(f'DataLoader worker (pid {worker.pid}) is killed by signal: Killed. ')\n"
    )
    with memory_limit(lab, NODE, 300 << 20):
        verdict = verdict_of(lab, tmp_path, source)
    assert verdict["signature"] == "memory.oom-killer"
    assert "reached its limit of 314.6 MB" in verdict["cause"]


LOCKED = """
import filelock
filelock.{kind}("/tmp/build.lock", timeout=0.5).acquire()
"""
HOLDS = """
import fcntl, sys
held = open("/tmp/build.lock", "w")
fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@all_of_them
def test_holder_of_a_lock_is_named(lab3: Lab, tmp_path: Path) -> None:
    pytest.importorskip("filelock")
    with started(lab3, sys.executable, "-c", HOLDS):
        verdict = verdict_of(lab3, tmp_path, LOCKED.format(kind="FileLock"))
    assert verdict["signature"] == "lock.left"
    assert re.search(r"/tmp/build.lock is held by process \d+ \(", verdict["cause"])


@all_of_them
def test_lock_that_was_left_is_removed_by_the_remedy(lab3: Lab, tmp_path: Path) -> None:
    pytest.importorskip("filelock")
    sh(lab3, "touch /tmp/build.lock")
    source = LOCKED.format(kind="SoftFileLock")
    verdict = verdict_of(lab3, tmp_path, source)
    assert "no process on node0 holds /tmp/build.lock" in verdict["cause"]
    remedy = verdict["fix"].removeprefix("remove it there: ")
    assert remedy == "rm /tmp/build.lock"
    sh(lab3, remedy)
    assert launch(lab3, *DIRECT, write(tmp_path / "job", "train.py", source)).returncode == 0
    sh(lab3, "rm -f /tmp/build.lock")


@all_of_them
def test_clean_failure_looks_at_nothing(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "train.py", "raise ValueError('no such batch')\n")
    done = launch(lab3, *DIRECT, script)
    assert record(lab3, run_name(done.stderr))["verdict"]["looked"] == []
    assert "looked:" not in done.stderr
