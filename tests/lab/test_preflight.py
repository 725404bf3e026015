"""`orch preflight` as a whole on real hosts, and before a launch."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import ORCH, agents, launch, orch, processes_of_runs, wait_until, write

pytestmark = pytest.mark.lab

MakeLab = Callable[..., Lab]

# Like many sites: only SSH is open from outside.
ONLY_SSH = """
table inet site {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    tcp dport 22 accept
  }
}
"""


def findings(done: subprocess.CompletedProcess[str], status: str) -> dict[str, Any]:
    """The findings with this status, by check id."""
    return {
        finding["id"]: finding
        for finding in json.loads(done.stdout)["checks"]
        if finding["status"] == status
    }


def test_unreachable_node_does_not_hide_other_problems(make_lab: MakeLab) -> None:
    lab = make_lab(3)
    lab.vanish("node2")
    lab.run(["mount", "-o", "remount,size=64m", "/dev/shm"], node="node1")
    words = ["-i", str(lab.inventory), "--connect-timeout", "2", "--only", "shm,net"]
    done = orch(lab, "preflight", *words, "--output", "json")
    assert done.returncode == 1, done.stderr
    failed = findings(done, "fail")
    assert set(failed) == {"ssh.reach", "shm"}
    assert failed["ssh.reach"]["nodes"] == ["node2"]
    assert failed["shm"]["nodes"] == ["node1"]
    assert findings(done, "pass")["net.tcp"]["nodes"] == ["node0", "node1"]
    wait_until(lambda: agents(lab) == [])


def test_launch_that_would_hang_is_refused_with_a_remedy(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(3, nft={"node1": ONLY_SSH})
    script = write(tmp_path / "job", "hello.py", "print('hello')\n")
    done = launch(lab, "--launcher", "direct", script)
    assert (done.returncode, done.stdout) == (125, "")
    assert "orch: preflight failed; nothing was started\nnet.tcp" in done.stderr
    assert "Traceback" not in done.stderr
    wait_until(lambda: processes_of_runs(lab) == agents(lab) == [])
    assert not (lab.home / ".local/state/orch/runs").exists()

    off = launch(lab, "--launcher", "direct", "--preflight", "off", script)
    assert off.stdout.count("hello") == 3, off.stderr

    (command,) = [line.strip() for line in done.stderr.splitlines() if "nft insert rule" in line]
    pasted = lab.run(["sh", "-c", command], node="node1")
    assert pasted.returncode == 0, pasted.stderr
    again = launch(lab, "--launcher", "direct", script)
    assert (again.returncode, again.stdout.count("hello")) == (0, 3), again.stderr


def test_interrupted_preflight_leaves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(2, nft={"node1": ONLY_SSH})
    process = lab.popen(
        [*ORCH, "preflight", "-i", str(lab.inventory), "--only", "net.tcp"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        # A rank waits for a reply that never arrives.
        wait_until(lambda: "SYN-SENT" in lab.run(["ss", "-tn"], node="node0").stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"interrupted" in err and b"Traceback" not in err
    wait_until(lambda: agents(lab) == [])
