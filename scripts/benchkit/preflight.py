"""Preflight: all pairs of many hosts, and what the quick level adds to a launch."""

from __future__ import annotations

from labkit.lab import Lab

from benchkit.measure import ORCH, Cost, cost, launch
from benchkit.numbers import Bound, Result, Series, ratios

_FEW = 8  # hosts: with more of them on two cores, the hosts wait for each other, not for orch


def run(lab: Lab, runs: int) -> Result:
    """Measure on all hosts of the lab, and on a quarter of them."""
    many = len(lab.nodes)
    few = max(2, many // 4)
    job = lab.dir / "preflight-job"
    job.mkdir()
    (job / "hello.py").write_text("print('hello')\n")

    def check(only: str, hosts: int) -> Cost:
        nodes = ["--nodes", ",".join(lab.nodes[:hosts])]
        words = ["-i", str(lab.inventory), *nodes, "--only", only, "--output", "json"]
        return cost(lab, [*ORCH, "preflight", *words], until=b'"status": "pass"')

    def start(preflight: str) -> Cost:
        hosts = ",".join(lab.nodes[:_FEW])
        direct = ["--launcher", "direct", "--nodes", hosts, "--preflight", preflight]
        return launch(lab, *direct, job / "hello.py", until=b"hello")

    start("quick")  # uploads the agent to every host
    pairs: dict[int, list[float]] = {many: [], few: []}
    quick, off = [], []
    for _ in range(runs):
        for hosts, seconds in pairs.items():
            # Without the connections, which are all that `nic.pick` needs.
            seconds.append(check("net.tcp", hosts).wall - check("nic.pick", hosts).wall)
        quick.append(start("quick").wall)
        off.append(start("off").wall)
    added = tuple(more - less for more, less in zip(quick, off, strict=True))
    grown = ratios(pairs[many], pairs[few])
    return Result(
        "preflight",
        f"all pairs of {many} hosts, and a launch on {min(_FEW, many)}",
        (
            *(
                Series(f"net.tcp, all {n * (n - 1)} pairs of {n} hosts", "wall", "s", tuple(values))
                for n, values in pairs.items()
            ),
            Series("launch, --preflight quick", "wall", "s", tuple(quick)),
            Series("launch, --preflight off", "wall", "s", tuple(off)),
        ),
        (
            # If the time grew with N squared, it would be the square of that.
            Bound(f"all pairs: {many} hosts / {few} hosts", "x", 1.75 * many / few, grown),
            Bound("quick: added to a launch", "s", 0.5, added),
        ),
        ("all hosts share this machine's cores: their own work counts as well",),
    )
