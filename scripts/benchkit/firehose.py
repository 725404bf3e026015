"""One rank prints 1 GB in 13.9 million lines: prefixed, kept and piped, compared with plain copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from labkit.lab import Lab

from benchkit import contenders
from benchkit.measure import BenchError, Cost, cost, launch
from benchkit.numbers import Bound, Result, Series, ratios

LINES = 13_888_889
LINE = b"epoch 3 step 12345: loss 0.123456, accuracy 0.987654, 1234.5 samples/s".ljust(71) + b"\n"

_TIMEOUT = 240.0  # seconds for one contender
_SCRIPT = f"""\
import os
block = {LINE!r} * 14000
left = {LINES * len(LINE)}
while left:
    left -= os.write(1, block[:left])
"""


def run(lab: Lab, runs: int) -> Result:
    """Measure on the first host."""
    node = lab.nodes[0]
    job = lab.dir / "firehose"
    job.mkdir()
    script = job / "hose.py"
    script.write_text(_SCRIPT)
    big = lab.files(node) / "tmp" / "big"
    with big.open("wb") as file:
        subprocess.run([sys.executable, script], stdout=file, check=True, timeout=120)
    options = ["--nodes", node, "--launcher", "direct"]
    cat = "cat /tmp/big"

    def orch(*, terminal: bool = False) -> Cost:
        os.sync()
        done = launch(lab, *options, script, timeout=_TIMEOUT, terminal=terminal)
        for home in (lab.home, lab.files(node) / "home"):
            shutil.rmtree(home / ".local/state/orch/runs")
        return done if terminal else _checked(done, f"r0 {node} │ ")

    def on_terminal() -> Cost:
        done = orch(terminal=True)
        if LINE.rstrip() not in done.head:
            raise BenchError(f"no line on the terminal: {done.head[:200]!r}")
        return done

    def ssh() -> Cost:
        os.sync()  # so that writes of an earlier run do not count
        return _checked(cost(lab, contenders.ssh(lab, node, cat), timeout=_TIMEOUT))

    def pdsh() -> Cost:
        os.sync()
        argv, env = contenders.pdsh(lab, [node], cat), contenders.pdsh_environment(lab)
        return _checked(cost(lab, argv, env=env, timeout=_TIMEOUT), f"{node}: ")

    rounds = [(orch(), ssh(), on_terminal()) for _ in range(runs)]
    ours, plain, shown = zip(*rounds, strict=True)
    costs = {
        "orch": ours,
        "orch, terminal": shown,
        "ssh HOST cat FILE": plain,
        "pdsh cat FILE": (pdsh(),),
    }
    big.unlink()

    wall = {name: tuple(one.wall for one in done) for name, done in costs.items()}
    cpu = {name: tuple(one.cpu for one in done) for name, done in costs.items()}
    memory = {name: tuple(one.memory for one in done) for name, done in costs.items()}
    return Result(
        "firehose",
        f"{LINES * len(LINE) / 1e9:.0f} GB in {LINES / 1e6:.1f} million lines from one rank",
        (
            *(Series(name, "wall", "s", values) for name, values in wall.items()),
            *(Series(name, "client CPU", "s", values) for name, values in cpu.items()),
            *(Series(name, "client memory", "MiB", values) for name, values in memory.items()),
        ),
        (
            Bound("orch / ssh: wall", "x", 2.0, ratios(wall["orch"], wall["ssh HOST cat FILE"])),
            Bound("orch / pdsh: wall", "x", 0.4, ratios(wall["orch"], wall["pdsh cat FILE"])),
            Bound("terminal / pipe: wall", "x", 2.5, ratios(wall["orch, terminal"], wall["orch"])),
            Bound("orch: client memory", "MiB", 120.0, memory["orch"]),
            Bound("terminal: client memory", "MiB", 120.0, memory["orch, terminal"]),
        ),
        (
            "orch: the rank writes a file and orch keeps a copy; the others read a file in memory",
            "pdsh runs once: it is slow",
            "terminal: orch skips output that the terminal is too slow for",
        ),
    )


def _checked(done: Cost, prefix: str = "") -> Cost:
    """Return the cost if every line arrived, each with this prefix. Raises BenchError."""
    wanted = LINES * (len(prefix.encode()) + len(LINE))
    if done.printed != wanted:
        raise BenchError(f"{done.printed} bytes arrived, not {wanted}: {done.head[:200]!r}")
    return done
