"""Hosts that vanish or never existed are detected within a bound and reported correctly."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import Launch, launch, write

pytestmark = pytest.mark.lab

WAITING = "import time\nprint('up', flush=True)\ntime.sleep(1000)\n"


def test_unused_address_is_reported_as_no_route_to_host(lab3: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    text = lab3.inventory.read_text().replace(lab3.address("node1"), "198.18.0.250")
    inventory.write_text(text)
    script = write(tmp_path / "job", "wait.py", WAITING)
    done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
    assert done.returncode == 125
    assert "1 of 3 nodes cannot be reached; nothing was started" in done.stderr
    assert "no route to 198.18.0.250" in done.stderr.lower()


def test_host_that_vanishes_during_a_run_is_detected_in_time(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "wait.py", WAITING)
    with Launch(lab, "--launcher", "direct", script) as running:
        running.wait_for_lines(2, "up")
        lab.vanish("node1")
        began = time.monotonic()
        assert running.process.stderr is not None
        while b"node1: the connection broke" not in (line := running.process.stderr.readline()):
            assert line, "orch ended"
        assert time.monotonic() - began < 120  # 15 s between probes, three may be missed
        assert running.interrupt(timeout=100) == 130
