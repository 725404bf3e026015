"""Files to many hosts and back from one, compared with rsync over ssh typed by hand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from labkit.lab import Lab

from benchkit.measure import ORCH, BenchError, Cost, cost
from benchkit.numbers import Bound, Result, Series, ratios

HOSTS = 16
FILES = 2_000
FILE_SIZE = 10_000  # bytes: 20 MB in all
FETCHED = 2_000_000_000  # bytes

_TIMEOUT = 300.0  # seconds for one contender
_WRITER = f"""\
import os
block = os.urandom(1 << 20)
left = {FETCHED}
with open("checkpoint.pt", "wb") as file:
    while left:
        left -= file.write(block[:left])
"""


def push(lab: Lab, runs: int) -> Result:
    """Measure on at most 16 hosts of the lab; each round has folders that no host has."""
    hosts = lab.nodes[:HOSTS]
    first: list[float] = []
    unchanged: list[float] = []
    plain: list[float] = []
    plain_again: list[float] = []
    for round_ in range(runs):
        job = _tree(lab.dir / f"push{round_}")
        first.append(_sync(lab, hosts, job))
        unchanged.append(_sync(lab, hosts, job))
        for costs in (plain, plain_again):
            costs.append(cost(lab, _xargs_rsync(lab, hosts, job), timeout=_TIMEOUT).wall)
        shutil.rmtree(job)
        for node in hosts:
            for folder in ("orch", "plain"):
                shutil.rmtree(lab.files(node) / "home" / folder)
    return Result(
        "push",
        f"{FILES:,} files, {FILES * FILE_SIZE / 1e6:.0f} MB, to {len(hosts)} hosts",
        (
            Series("orch, first", "sync", "s", tuple(first)),
            Series("orch, unchanged", "sync", "s", tuple(unchanged)),
            Series("xargs rsync, first", "wall", "s", tuple(plain)),
            Series("xargs rsync, unchanged", "wall", "s", tuple(plain_again)),
        ),
        (
            Bound("first: orch / rsync", "x", 1.1, ratios(first, plain)),
            Bound("unchanged: orch / rsync", "x", 0.2, ratios(unchanged, plain_again)),
        ),
        ("orch: the sync phase of a launch, with open connections; rsync opens its own",),
    )


def fetch(lab: Lab, runs: int) -> Result:
    """Measure on the first host."""
    node = lab.nodes[0]
    job = lab.dir / "fetch"
    job.mkdir()
    (job / "write.py").write_text(_WRITER)
    done = _launch(lab, [node], job / "write.py")
    found = re.search(rb"run ([A-Za-z0-9._-]+):", done.head)
    if found is None:
        raise BenchError(f"no name of a run in: {done.head[:200]!r}")
    run = found[1].decode()
    ssh = f"ssh -F {lab.dir}/ssh_config"
    out = lab.dir / "out"

    def orch() -> Cost:
        return _fresh(lab, [*ORCH, "fetch", run, "--to", out], out)

    def rsync() -> Cost:
        source = f"{node}:orch/fetch/checkpoint.pt"
        return _fresh(lab, ["rsync", "-a", "--mkpath", "-e", ssh, source, f"{out}/"], out)

    ours, plain = zip(*[(orch(), rsync()) for _ in range(runs)], strict=True)
    costs = {"orch fetch": ours, "rsync -e ssh": plain}
    wall = {name: tuple(one.wall for one in done_) for name, done_ in costs.items()}
    cpu = {name: tuple(one.cpu for one in done_) for name, done_ in costs.items()}
    return Result(
        "fetch",
        f"a file of {FETCHED / 1e9:.0f} GB from one host",
        (
            *(Series(name, "wall", "s", values) for name, values in wall.items()),
            *(Series(name, "client CPU", "s", values) for name, values in cpu.items()),
        ),
        (
            Bound(
                "fetch: wall of rsync",
                "x",
                1 / 0.9,
                ratios(wall["orch fetch"], wall["rsync -e ssh"]),
            ),
        ),
        ("the same file, with no part of it here; orch also lists what the run has written",),
    )


def _tree(folder: Path) -> Path:
    for number in range(FILES):
        file = folder / f"package{number % 20}" / f"module{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"# {folder.name} {number}\n".encode().ljust(FILE_SIZE, b"x"))
    (folder / "main.py").write_text("print('here')\n")
    return folder


def _launch(lab: Lab, hosts: list[str], script: Path) -> Cost:
    """Launch; messages of orch are part of the output."""
    words = [*ORCH, "launch", "-i", lab.inventory, "--nodes", ",".join(hosts)]
    words += ["--launcher", "direct", "--preflight", "off", script]
    command = f"exec {shlex.join(map(str, words))} 2>&1"
    return cost(lab, ["sh", "-c", command], timeout=_TIMEOUT)


def _sync(lab: Lab, hosts: list[str], job: Path) -> float:
    done = _launch(lab, hosts, job / "main.py")
    found = re.search(rb"sync (\d+\.\d+) s", done.head)
    if found is None:
        raise BenchError(f"no sync phase in: {done.head[:200]!r}")
    return float(found[1])


def _xargs_rsync(lab: Lab, hosts: list[str], job: Path) -> list[str]:
    """rsync to each host, all at once, into a separate folder."""
    ssh = shlex.quote(f"ssh -F {lab.dir}/ssh_config")
    names = shlex.quote("\n".join(hosts))
    rsync = f"rsync -a -e {ssh} {shlex.quote(f'{job}/')} {{}}:plain/"
    command = f"printf '%s\\n' {names} | xargs -P {len(hosts)} -I {{}} {rsync} && echo done"
    return ["sh", "-c", command]


def _fresh(lab: Lab, argv: list[str | Path], out: Path) -> Cost:
    """Return the cost of fetching the file, with no part of it here at the start; remove it at the end."""
    command = f"{shlex.join(map(str, argv))} && echo done"
    done = cost(lab, ["sh", "-c", command], timeout=_TIMEOUT)
    (file,) = out.glob("*.pt")
    if file.stat().st_size != FETCHED:
        raise BenchError(f"{file} has {file.stat().st_size} bytes, not {FETCHED}")
    shutil.rmtree(out)
    return done
