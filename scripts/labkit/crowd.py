"""A crowd: many nodes on one host of a lab, to measure a client with a thousand of them.

crowd = Crowd.start(life.up(1, "demo"), 1024)
crowd.cut([3, 17])
lab.run(["orch", "nodes", "-i", crowd.inventory])

Each node is an address of the host, with its real sshd. The agents are real processes too, but forked by
one that has everything imported (`stand_in.py`), so that a thousand take seconds and a few gigabytes.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit import network
from labkit.errors import LabError
from labkit.lab import START_TIMEOUT, Lab

MAX_NODES = 4096
FOLDER = "/run/crowd"
HOST = "node0"

_REPOSITORY = Path(__file__).parents[2]
_NETWORK = "198.19.128.0/17"
_SSHD = "MaxStartups 4096\nMaxSessions 64\n"
_RULES = """\
table inet crowd {
    set cut { type ipv4_addr; }
    chain input { type filter hook input priority -10; ip daddr @cut drop; }
}
"""
# What orch starts with `python:` is its agent, or checks that take a Python start of their own.
_PYTHON = """\
#!/bin/sh
case "$*" in
*" serve "* | *" serve") exec {python} -IS {folder}/stand_in_login.py {folder}/socket ;;
*" -c "*) exit 0 ;;
esac
exec {python} "$@"
"""


def address(index: int) -> str:
    """Return the address of node `index` of a crowd."""
    return f"198.19.{128 + (index + 2) // 256}.{(index + 2) % 256}"


@dataclass(frozen=True)
class Crowd:
    """`size` nodes, node0 and so on, on a host of a lab; they end with it."""

    lab: Lab
    size: int

    @classmethod
    def start(cls, lab: Lab, size: int, python: str = sys.executable) -> Crowd:
        """Add the nodes to a lab of one host. Raises LabError if they do not start."""
        if not 1 <= size <= MAX_NODES:
            raise LabError(f"a crowd has 1 to {MAX_NODES} nodes, not {size}")
        crowd = cls(lab, size)
        crowd._write_stand_in(python)
        crowd._open_network()
        config = lab.files(HOST) / "etc-ssh" / "sshd_config"
        config.write_text(config.read_text() + _SSHD)
        lab.restart_sshd(HOST)
        crowd._write_login()
        # It must not end with its caller.
        argv = ["setsid", "--fork", python, "-IS", f"{FOLDER}/stand_in.py"]
        with (crowd._folder / "log").open("wb") as log:
            lab.popen(argv, node=HOST, stdin=log, stdout=log, stderr=log).wait(START_TIMEOUT)
        deadline = time.monotonic() + START_TIMEOUT
        while not (crowd._folder / "socket").exists():
            if time.monotonic() > deadline:
                raise LabError(f"the crowd does not start: see {crowd._folder / 'log'}")
            time.sleep(0.01)
        return crowd

    @property
    def inventory(self) -> Path:
        """The inventory of all nodes."""
        return self.lab.dir / "crowd.yaml"

    @property
    def names(self) -> list[str]:
        return [f"node{index}" for index in range(self.size)]

    def cut(self, nodes: Iterable[int]) -> None:
        """Drop all packets to these nodes, as if they were down."""
        self._nft("add", nodes)

    def restore(self, nodes: Iterable[int]) -> None:
        """Undo `cut`; connections that were not given up by then continue."""
        self._nft("delete", nodes)

    def slow(self, seconds: Mapping[int, float]) -> None:
        """Make nodes start their agents late, by this many seconds."""
        for index, delay in seconds.items():
            (self._folder / "slow" / address(index)).write_text(str(delay))

    @property
    def _folder(self) -> Path:
        return self.lab.files(HOST) / "run" / Path(FOLDER).name

    def _nft(self, verb: str, nodes: Iterable[int]) -> None:
        elements = ", ".join(map(address, nodes))
        rule = f"{verb} element inet crowd cut {{ {elements} }}\n"
        network.configure(self.lab.pid(HOST), [], ruleset=rule)

    def _write_stand_in(self, python: str) -> None:
        node_side = Path("orchestrator") / "node"
        for name in ("slow", "answers"):
            (self._folder / name).mkdir(parents=True)
        shutil.copytree(
            _REPOSITORY / node_side,
            self._folder / node_side,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in ("stand_in.py", "stand_in_login.py"):
            shutil.copy(Path(__file__).with_name(name), self._folder)
        own = self._folder / "python"
        own.write_text(_PYTHON.format(python=shlex.quote(python), folder=FOLDER))
        own.chmod(0o755)

    def _open_network(self) -> None:
        host = self.lab.address(HOST)
        addresses = [f"address add {address(i)}/17 dev eth0" for i in range(self.size)]
        network.configure(self.lab.pid(HOST), addresses, ruleset=_RULES)
        network.configure(self.lab.pid("ctl"), [f"route add {_NETWORK} via {host}"])

    def _write_login(self) -> None:
        known = self.lab.home / ".ssh" / "known_hosts"
        key = known.read_text().splitlines()[0].split(maxsplit=1)[1]
        addresses: Collection[str] = [address(index) for index in range(self.size)]
        known.write_text("".join(f"{each} {key}\n" for each in addresses))
        head, _, _ = self.lab.inventory.read_text().partition("hosts:\n")
        lines = [
            f"  python: {FOLDER}/python" if line.strip().startswith("python:") else line
            for line in head.splitlines()
        ]
        hosts = [f"  - {{name: node{i}, address: {each}}}" for i, each in enumerate(addresses)]
        self.inventory.write_text("\n".join([*lines, "hosts:", *hosts]) + "\n")
