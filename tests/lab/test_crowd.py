"""Many nodes at once: some down, some slow, some whose link comes back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.crowd import Crowd
from labkit.lab import Lab

from .orch import orch, write

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("ORCH_HOSTS" not in os.environ, reason="ORCH_HOSTS=N is not set"),
]

SIZE = 40
DOWN = (3, 17)


@pytest.fixture
def crowd(make_lab: Callable[..., Lab]) -> Crowd:
    return Crowd.start(make_lab(1), SIZE)


def test_nodes_that_are_down_are_one_message_and_the_others_run(
    crowd: Crowd, tmp_path: Path
) -> None:
    lab, hosts = crowd.lab, ("-i", crowd.inventory)
    crowd.cut(DOWN)
    crowd.slow({5: 2.0})
    found = orch(lab, "nodes", *hosts, "--connect-timeout", "4")
    assert found.returncode == 125
    assert found.stdout.count("eth0 198.19.") == SIZE - len(DOWN)
    assert "node[3,17]" in found.stderr

    script = write(tmp_path / "job", "hello.sh", "#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    words = ("launch", *hosts, "--launcher", "direct", "--preflight", "off", script)
    refused = orch(lab, *words, "--connect-timeout", "4")
    assert f"{len(DOWN)} of {SIZE} nodes cannot be reached; nothing was started" in refused.stderr
    assert refused.stderr.count("node[3,17]") == 1

    # A link that comes back while orch waits for it: the kernel sends the packets again.
    flap = threading.Timer(1.0, crowd.restore, [DOWN])
    flap.start()
    try:
        done = orch(lab, *words, "--connect-timeout", "60")
    finally:
        flap.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hello from a rank") == SIZE
