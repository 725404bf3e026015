"""A launch of one line on many hosts, compared with tools that run a script in place."""

from __future__ import annotations

from pathlib import Path

from labkit.lab import Lab

from benchkit import contenders
from benchkit.measure import ORCH, PYTHON, BenchError, Cost, cost, launch
from benchkit.numbers import Bound, Result, Series, ratios

LINE = b"hello from a rank"


def run(lab: Lab, runs: int) -> Result:
    """Measure on all hosts of the lab."""
    script = f"print({LINE.decode()!r})\n"
    for node in lab.nodes:
        (lab.files(node) / "tmp" / "hello.py").write_text(script)
    command = f"{PYTHON} /tmp/hello.py"
    job = lab.dir / "job"
    job.mkdir()

    def orch(round_: int) -> Cost:
        # Changed each time, so that there is something to send.
        (job / "hello.py").write_text(f"{script}# {round_}\n")
        return launch(lab, "--launcher", "direct", job / "hello.py")

    others = {
        "pdsh": contenders.pdsh(lab, lab.nodes, command),
        "clush": contenders.clush(lab, lab.nodes, command),
        "ssh loop": contenders.ssh_loop(lab, dict.fromkeys(lab.nodes, command)),
        "bare asyncssh": contenders.bare_asyncssh(lab, lab.nodes, command),
    }
    costs: dict[str, list[Cost]] = {"orch, first time": [orch(-1)], "orch": []}
    for round_ in range(runs):
        costs["orch"].append(orch(round_))
        for name, argv in others.items():
            done = cost(lab, argv, env=contenders.pdsh_environment(lab))
            costs.setdefault(name, []).append(done)
    for name, done_ in costs.items():
        for one in done_:
            if (lines := one.head.count(LINE)) != len(lab.nodes):
                raise BenchError(f"{name}: {lines} lines of {len(lab.nodes)} hosts")
    wall = {name: tuple(one.wall for one in done_) for name, done_ in costs.items()}
    cpu = {name: tuple(one.cpu for one in done_) for name, done_ in costs.items()}
    return Result(
        "fanout",
        f"a script of one line on {len(lab.nodes)} hosts",
        (
            *(Series(name, "wall", "s", values) for name, values in wall.items()),
            *(Series(name, "client CPU", "s", values) for name, values in cpu.items()),
        ),
        (
            Bound("orch: client CPU", "s", 1.2, cpu["orch"]),
            Bound("orch / bare asyncssh: CPU", "x", 2.6, ratios(cpu["orch"], cpu["bare asyncssh"])),
            Bound("orch / pdsh: wall", "x", 2.0, ratios(wall["orch"], wall["pdsh"])),
        ),
        (
            "orch sends the script and keeps logs; for the others it is in place",
            "the first time, orch uploads its agent to every host",
        ),
    )


def run_exec(lab: Lab, runs: int) -> Result:
    """Measure a command without a job on all hosts, against the library that orch uses."""
    words = ["echo", LINE.decode()]
    tools: dict[str, list[str | Path]] = {
        "orch exec": [*ORCH, "exec", "-i", lab.inventory, "--", *words],
        "bare asyncssh": [*contenders.bare_asyncssh(lab, lab.nodes, " ".join(words))],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in tools}
    for _ in range(runs):
        for name, argv in tools.items():
            costs[name].append(cost(lab, argv))
    if any(LINE not in one.head for done in costs.values() for one in done):
        raise BenchError("exec: a tool has not printed what the hosts did")
    cpu = {name: tuple(one.cpu for one in done) for name, done in costs.items()}
    return Result(
        "exec",
        f"echo on {len(lab.nodes)} hosts",
        tuple(Series(name, "client CPU", "s", values) for name, values in cpu.items()),
        (Bound("exec / asyncssh: CPU", "x", 1.3, ratios(cpu["orch exec"], cpu["bare asyncssh"])),),
    )
