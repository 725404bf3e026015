"""Time from the command to the first line of a rank: two hosts, two ranks on each."""

from __future__ import annotations

from collections.abc import Callable

from labkit.lab import Lab

from benchkit import contenders
from benchkit.measure import PYTHON, cost, launch
from benchkit.numbers import Bound, Result, Series, ratios

LINE = b"a rank is there"
_RANKS = 2  # on each host
_SCRIPT = f"import torch\nprint({LINE.decode()!r}, flush=True)\n"


def run(lab: Lab, runs: int) -> Result:
    """Measure on the first two hosts."""
    nodes = lab.nodes[:2]
    job = lab.dir / "first-line"
    job.mkdir()
    (job / "first.py").write_text(_SCRIPT)
    for node in nodes:
        (lab.files(node) / "tmp" / "first.py").write_text(_SCRIPT)

    def bare() -> float:
        # Starts each rank of a node separately, like the launcher `direct`.
        command = f"{PYTHON} /tmp/first.py & " * _RANKS + "wait"
        return cost(lab, contenders.ssh_loop(lab, dict.fromkeys(nodes, command)), until=LINE).first

    def by_hand() -> float:
        commands = {
            node: f"{PYTHON} -m torch.distributed.run --nnodes=2 --node-rank={index} "
            f"--nproc-per-node={_RANKS} --master-addr={lab.address(nodes[0])} --master-port=29511 "
            "/tmp/first.py"
            for index, node in enumerate(nodes)
        }
        return cost(lab, contenders.ssh_loop(lab, commands), until=LINE).first

    def orch(launcher: str) -> float:
        options = ["--nodes", ",".join(nodes), "--nproc", str(_RANKS), "--launcher", launcher]
        return launch(lab, *options, job / "first.py", until=LINE).first

    hand, torchrun, direct = "ssh loop, torchrun", "orch, torchrun", "orch, direct"
    floor = "ssh loop, bare ranks"
    runners: dict[str, Callable[[], float]] = {
        torchrun: lambda: orch("torchrun"),
        hand: by_hand,
        direct: lambda: orch("direct"),
        floor: bare,
    }
    for warm_up in runners.values():  # torch into the page cache, the agent onto the hosts
        warm_up()
    rounds = [{name: measure() for name, measure in runners.items()} for _ in range(runs)]
    first = {name: tuple(one[name] for one in rounds) for name in runners}
    return Result(
        "first-line",
        f"first line of 2 x {_RANKS} ranks that import torch",
        tuple(Series(name, "first line", "s", values) for name, values in first.items()),
        (
            Bound("orch torchrun / ssh loop", "x", 1.15, ratios(first[torchrun], first[hand])),
            Bound("orch direct / ssh loop", "x", 0.7, ratios(first[direct], first[hand])),
        ),
        ("bare ranks do not form a group: they show how long importing torch takes here",),
    )
