"""The same launch over orch's own SSH connections and over OpenSSH's client."""

from __future__ import annotations

from labkit.lab import Lab

from benchkit.measure import BenchError, Cost, launch
from benchkit.numbers import Bound, Result, Series, ratios

HOSTS = 12
LINE = b"hello from a rank"


def run(lab: Lab, runs: int) -> Result:
    """Measure on the first twelve hosts of the lab."""
    nodes = lab.nodes[:HOSTS]
    job = lab.dir / "job-of-transports"
    job.mkdir()
    (job / "hello.py").write_text(f"print({LINE.decode()!r})\n")

    def over(transport: str) -> Cost:
        options = ["--nodes", ",".join(nodes), "--transport", transport, "--launcher", "direct"]
        return launch(lab, *options, job / "hello.py")

    names = ("ssh", "openssh")
    over(names[0])  # the agent onto the hosts
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            costs[name].append(over(name))
    for name, done in costs.items():
        if any(one.head.count(LINE) != len(nodes) for one in done):
            raise BenchError(f"{name}: not one line of each of {len(nodes)} hosts")
    wall = {name: tuple(one.wall for one in done) for name, done in costs.items()}
    return Result(
        "transports",
        f"a script of one line on {len(nodes)} hosts",
        tuple(Series(name, "wall", "s", values) for name, values in wall.items()),
        (Bound("openssh / ssh: wall", "x", 1.5, ratios(wall["openssh"], wall["ssh"])),),
        ("with OpenSSH's client, each connection is a process on this machine",),
    )
