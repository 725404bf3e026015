"""Start a lab, find it again, stop it.

lab = up(3, "demo", own_name_loopback=True)
lab.run(["ssh", "-F", str(lab.dir / "ssh_config"), "node1", "hostname"]).stdout  # "node1\\n"
down("demo")
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import build, kernel_limits, network, processes
from labkit.build import Traps, Where
from labkit.lab import START_TIMEOUT, Lab, LabError, kill, last_line

_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "rsync": "rsync",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}
_SCRIPTS = Path(__file__).parent.parent


def missing() -> str | None:
    """Return why a lab cannot run on this machine, in one line; None if it can."""
    if sys.platform != "linux":
        return "the lab needs Linux"
    if os.geteuid() != 0:
        return "the lab needs root: it creates network, mount and PID namespaces"
    path = os.pathsep.join([os.environ.get("PATH", ""), build.PATH])
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if absent:
        packages = " ".join(sorted({_TOOLS[tool] for tool in absent}))
        return f"the lab needs {', '.join(absent)}: apt-get install --yes {packages}"
    return None


def up(
    n: int,
    name: str = "lab",
    *,
    dir: Path | None = None,  # noqa: A002 - the option's name
    python: str | None = None,
    own_name_loopback: Where = False,
    second_net: Where = False,
    decoy: Where = False,
    noisy_bashrc: Where = False,
    no_rsync: Where = False,
    shared_home: Where = False,
    nft: str | Mapping[str, str] = "",
) -> Lab:
    """Start `n` hosts, node0 and so on; traps are those of `Traps`.

    `python` is the one in the inventory, by default this one. Raises LabError, and then leaves nothing
    behind.
    """
    traps = Traps(
        own_name_loopback=own_name_loopback,
        second_net=second_net,
        decoy=decoy,
        noisy_bashrc=noisy_bashrc,
        no_rsync=no_rsync,
        shared_home=shared_home,
        nft=nft,
    )
    nodes = [f"node{index}" for index in range(n)]
    place = (dir or default_directory(name)).absolute()
    _refuse(n, name, place, nodes, traps)
    try:
        place.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise LabError(f"{place} exists: remove it with scripts/lab down --name {name}") from None
    try:
        return _up(Lab(name, place, nodes, {}), traps, python or sys.executable)
    except BaseException as error:
        down(name, dir=place)
        if isinstance(error, (OSError, network.NetworkError, subprocess.SubprocessError)):
            raise LabError(f"cannot start lab {name}: {error}") from error
        raise


def _refuse(n: int, name: str, place: Path, nodes: Sequence[str], traps: Traps) -> None:
    """Raise LabError for invalid arguments."""
    if reason := missing():
        raise LabError(reason)
    if not 1 <= n <= network.MAX_HOSTS:
        raise LabError(f"a lab has 1 to {network.MAX_HOSTS} hosts, not {n}")
    if not re.fullmatch("[a-z0-9][a-z0-9-]*", name):
        raise LabError(
            f"the name of a lab has lower-case letters, digits and hyphens only, not {name!r}"
        )
    if not re.fullmatch("[A-Za-z0-9/._-]+", str(place)):
        raise LabError(f"the directory of a lab has letters, digits, / . _ - only, not {place}")
    kernel_limits.require_room(n)
    if unknown := traps.names() - set(nodes):
        raise LabError(f"no such node: {', '.join(sorted(unknown))}")
    if processes.inits(name):
        raise LabError(f"lab {name} is running: stop it with scripts/lab down --name {name}")


def _up(lab: Lab, traps: Traps, python: str) -> Lab:
    _record(lab)
    kernel_limits.raise_limits(len(lab.nodes), lab.dir)
    prefixes = build.prefixes(python)
    build.keygen(lab.dir / "id_ed25519", f"orch lab {lab.name}")
    build.write_controller(lab.dir, lab.nodes)

    def start(node: str) -> str:
        return build.write_host(lab.dir, lab.nodes, node, traps, prefixes)

    seconds = [traps.is_set("second_net", node) for node in lab.nodes]

    def connect(node: str) -> None:
        decoy = traps.is_set("decoy", node)
        commands = network.host_commands(lab.nodes.index(node), seconds, decoy=decoy)
        network.configure(lab.pids[node], commands, ruleset=traps.ruleset(node))

    with ThreadPoolExecutor(8) as pool:
        keys = dict(zip(lab.nodes, pool.map(start, lab.nodes), strict=True))
        everyone = ["ctl", *lab.nodes]
        pids = pool.map(lambda node: _start_host(lab, node), everyone)
        lab.pids.update(zip(everyone, pids, strict=True))
        build.write_login(lab.dir, keys, python)
        _record(lab)
        links = [
            (node, lab.pids[node], second) for node, second in zip(lab.nodes, seconds, strict=True)
        ]
        network.configure(lab.pids["ctl"], network.controller_commands(links))
        list(pool.map(connect, lab.nodes))
    for node in lab.nodes:
        lab.wait_for_sshd(node)
    return lab


def _start_host(lab: Lab, node: str) -> int:
    """Start process 1 of a host; return its id once everything is mounted."""
    argv = [sys.executable, "-E", "-s", "-S", "-m", "labkit.host", lab.name, str(lab.dir), node]
    with (lab.files(node) / "host.log").open("wb") as log:
        done = subprocess.run(
            argv,
            cwd=_SCRIPTS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=START_TIMEOUT,
            start_new_session=True,
        )
    if not done.stdout:
        raise LabError(f"{node} does not start: {last_line(lab.files(node))}")
    return int(done.stdout)


def find(name: str) -> Lab:
    """Return the running lab with a name. Raises LabError if there is none."""
    for init in processes.inits(name):
        try:
            known = json.loads((init.directory / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"{init.directory} is gone: scripts/lab down --name {name}") from None
        return Lab(name, init.directory, known["nodes"], known["pids"])
    raise LabError(f"lab {name} is not running: start it with scripts/lab up N --name {name}")


def down(name: str, *, dir: Path | None = None) -> bool:  # noqa: A002 - the option's name
    """Stop a lab, or what is left of it; return whether there was anything.

    `dir` is needed only for a lab in another directory that has no process left.
    """
    ended = _end(name)
    places = {(dir or default_directory(name)).absolute(), *ended}
    there = [place for place in places if place.exists()]
    for place in there:
        if not (place / "lab.json").exists() and any(place.iterdir()):
            raise LabError(f"{place} is not the directory of a lab: not removed")
        kernel_limits.restore(place)
        shutil.rmtree(place)
    # A host that an interrupted `up` was starting: without its files, no other can start.
    _end(name)
    return bool(ended or there)


def _end(name: str) -> set[Path]:
    """Kill the hosts of a lab until there are none; return their directories."""
    places: set[Path] = set()
    while inits := processes.inits(name):
        places |= {init.directory for init in inits}
        kill(inits)
    return places


def default_directory(name: str) -> Path:
    """Return the default directory of a lab."""
    return Path("/tmp") / f"orch-lab-{name}"


def _record(lab: Lab) -> None:
    text = json.dumps({"nodes": lab.nodes, "pids": lab.pids})
    (lab.dir / "lab.json").write_text(text)
