"""What the client needs for a thousand nodes, some of which are down."""

from __future__ import annotations

from pathlib import Path

from labkit import life
from labkit.crowd import Crowd
from labkit.lab import Lab

from benchkit.measure import ORCH, BenchError, Cost, cost
from benchkit.numbers import Bound, Result, Series

NODES = 1024
LINE = b"hello from a rank"

_DOWN_OF = 20  # one node in this many is down
_TIMEOUT = 600.0


def run(lab: Lab, runs: int) -> Result:
    """Measure in a lab of its own: a crowd takes memory until it is down."""
    name = f"{lab.name}-crowd"
    try:
        return _measure(Crowd.start(life.up(1, name), NODES), runs)
    finally:
        life.down(name)


def _measure(crowd: Crowd, runs: int) -> Result:
    job = crowd.lab.dir / "job"
    job.mkdir()
    script, sleeping = (_program(job, name) for name in ("hello", "sleep"))
    hosts = ("-i", crowd.inventory)
    start = ("launch", *hosts, "--launcher", "direct", "--sync", job)

    def orch(*words: str | Path, until: bytes = b"", code: int = 0) -> Cost:
        argv = [*ORCH, *words]
        return cost(crowd.lab, argv, until=until, timeout=_TIMEOUT, code=code)

    orch(*start, "--preflight", "off", script, until=LINE)  # uploads the agent
    found: dict[str, list[Cost]] = {}
    for _ in range(runs):
        launched = orch(*start, script, until=LINE)
        steps = {
            "launch, quick preflight": launched,
            "logs": orch("logs", until=LINE),
            "exec echo": orch("exec", *hosts, "--", "echo", "done", until=b"done"),
            "launch -d": orch(*start, "--detach", "--name", "sleeps", sleeping),
            "status": orch("status"),
            "stop": orch("stop"),
            "nodes": orch("nodes", *hosts),
        }
        down = range(3, crowd.size, _DOWN_OF)
        crowd.cut(down)
        steps["nodes, 5 % down"] = orch("nodes", *hosts, code=125)
        crowd.restore(down)
        if launched.printed < crowd.size * len(LINE):
            raise BenchError(f"launch: {launched.printed} bytes of {crowd.size} nodes")
        for name, one in steps.items():
            found.setdefault(name, []).append(one)
    launches = found["launch, quick preflight"]
    return Result(
        "thousand",
        f"{crowd.size} nodes, whose work is stood in for",
        (
            *(
                Series(n, "client CPU", "s", tuple(c.cpu for c in done))
                for n, done in found.items()
            ),
            *(
                Series(n, "client memory", "MiB", tuple(c.memory for c in done))
                for n, done in found.items()
            ),
        ),
        (
            Bound("launch: CPU to the first line", "s", 10.0, tuple(c.first_cpu for c in launches)),
            Bound("launch: client memory", "MiB", 300.0, tuple(c.memory for c in launches)),
        ),
        (
            "sshd, logins and agents are real; Python's start, probes, supervisors and ranks are not",
        ),
    )


def _program(job: Path, name: str) -> Path:
    """Write a program for the ranks; the stand-in goes by its name."""
    path = job / f"{name}.sh"
    path.write_text(f"#!/bin/sh\n: {name}\n")
    path.chmod(0o755)
    return path
