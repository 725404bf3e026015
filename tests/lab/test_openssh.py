"""Runs over OpenSSH's client: they end, detach and reconnect as over any transport, and leave nothing."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    OBEYING,
    Launch,
    detached,
    latest,
    launch,
    orch,
    order_to_leave,
    processes_of_runs,
    run_name,
    unlike,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab


class Site:
    """A lab whose inventory is used over OpenSSH's client; `sockets` is the folder of its masters."""

    def __init__(self, lab: Lab, inventory: Path, sockets: Path) -> None:
        self.lab = lab
        self.inventory = inventory
        self.sockets = sockets

    def masters(self) -> dict[int, str]:
        """Return the command line of each master, by its id on this machine."""
        lines = {p.pid: " ".join(p.argv) for p in self.lab.processes("ctl")}
        return {pid: line for pid, line in lines.items() if f"ControlPath={self.sockets}" in line}

    def is_clean(self) -> bool:
        """Tell whether nothing is left of any master."""
        return not self.masters() and list(self.sockets.iterdir()) == []


@pytest.fixture
def site(lab3: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    top = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))  # a socket's path must be short
    own = Lab.env.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Lab, "env", property(lambda lab: {**own(lab), "TMPDIR": str(top)}))
    inventory = tmp_path / "hosts.yaml"
    text = lab3.inventory.read_text()
    # ssh finds the user's known hosts by the password database, not in $HOME.
    more = f"defaults:\n  known_hosts: {lab3.dir}/known_hosts\n"
    inventory.write_text("transport: openssh\n" + text.replace("defaults:\n", more))
    yield Site(lab3, inventory, top / f"orch-ssh-{os.geteuid()}")
    shutil.rmtree(top)


FAILING = """
import os, sys, time
print("up", os.environ["RANK"], flush=True)
if os.environ["RANK"] == "1":
    sys.exit(3)
time.sleep(1000)
"""


def test_failing_rank_ends_the_launch_and_no_master_is_left(site: Site, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "fail.py", FAILING)
    done = launch(site.lab, "--launcher", "direct", script, inventory=site.inventory)
    assert done.returncode == 3, done.stderr
    run = run_name(done.stderr)
    assert sorted(line[-4:] for line in done.stdout.splitlines()) == ["up 0", "up 1", "up 2"]
    assert unlike(site.lab, run) == []
    assert processes_of_runs(site.lab, run) == []
    assert site.is_clean()


def test_detached_run_continues_over_the_same_masters_until_it_is_stopped(
    site: Site, tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(site.lab, "--launcher", "direct", script, inventory=site.inventory)
    masters = site.masters()
    assert len(masters) == 3
    wait_for_copies(site.lab, run, 3, "line 3\n")
    stopped = orch(site.lab, "stop", run)
    assert stopped.returncode == 0, stopped.stderr
    wait_for_end(site.lab, run)
    assert processes_of_runs(site.lab, run) == []
    assert site.is_clean()


def test_run_reconnects_after_its_master_was_killed(site: Site, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(site.lab, "--launcher", "direct", script, inventory=site.inventory) as launched:
        launched.wait_for_lines(3, "line 1\n")
        run = latest(site.lab)
        before = site.masters()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(site.masters().keys() - before.keys()) == 3)
        order_to_leave(site.lab, run, 0)
        assert launched.end() == 0, launched.err
    assert unlike(site.lab, run) == []
    assert site.is_clean()
