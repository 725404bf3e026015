"""The network of a lab: addresses, names, and the `ip` commands that create the links.

Everything is in the network namespaces of the lab. The bridge is in that of the controller, which has no
default route. The interfaces of this machine are not visible in a lab, so every lab uses the same
addresses, from the block that RFC 2544 reserves for benchmarks.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from labkit import kernel

MAX_HOSTS = 512
_MAX_SMALL = 240  # with these, the last number of an address is enough
_FIRST_HOST = 10
DECOY = "172.17.0.1"


class NetworkError(Exception):
    """An `ip` or `nft` command failed inside a lab."""


def address(index: int, *, net: int = 0) -> str:
    """Return the address of host `index`, or of the controller (-1); net 1 is the second interface."""
    high, low = divmod(_FIRST_HOST + index if index >= 0 else 1, 256)
    return f"198.{18 + net}.{high}.{low}"


def prefix(hosts: int) -> int:
    """Return the length of the prefix of a lab's networks."""
    return 24 if hosts <= _MAX_SMALL else 22


def mac(index: int, *, net: int = 0) -> str:
    """Return the hardware address of the interface of a host, which is known even once it has vanished."""
    high, low = divmod(_FIRST_HOST + index, 256)
    return f"02:00:c6:{0x12 + net:02x}:{high:02x}:{low:02x}"


def hosts_file(names: Sequence[str], *, own_name_loopback: str | None = None) -> str:
    """Return the text of /etc/hosts; as on Debian, it may have only the host's own name, as 127.0.1.1."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    if own_name_loopback is not None:
        lines.append(f"127.0.1.1 {own_name_loopback}")
    else:
        lines += [f"{address(index)} {name}" for index, name in enumerate(names)]
        lines.append(f"{address(-1)} ctl")
    return "\n".join(lines) + "\n"


def controller_commands(links: Sequence[tuple[str, int, bool]]) -> list[str]:
    """Return the `ip` commands for the namespace of the controller.

    A link is the name of a host, the id of its process 1, and whether it has a second interface. The
    interfaces of host `index` are group `index` + 1.
    """
    commands = [
        "link set lo up",
        "link add br0 type bridge",
        f"address add {address(-1)}/{prefix(len(links))} dev br0",
        "link set br0 up",
    ]
    if any(second for _, _, second in links):
        commands += ["link add br1 type bridge", "link set br1 up"]
    for index, (name, pid, second) in enumerate(links):
        for net in range(2 if second else 1):
            here = name if net == 0 else f"{name}.1"
            peer = f"name eth{net} address {mac(index, net=net)} netns {pid}"
            commands.append(f"link add {here} type veth peer {peer}")
            commands.append(f"link set {here} master br{net} group {index + 1} up")
    return commands + _neighbours("br0", net=0, indices=range(len(links)))


def host_commands(index: int, seconds: Sequence[bool], *, decoy: bool) -> list[str]:
    """Return the `ip` commands for the namespace of host `index`, once its interfaces exist.

    `seconds` tells for each host, in order, whether it has a second interface.
    """
    commands = ["link set lo up"]
    for net in range(2 if seconds[index] else 1):
        own = f"{address(index, net=net)}/{prefix(len(seconds))}"
        commands.append(f"address add {own} dev eth{net}")
        commands.append(f"link set eth{net} up")
        peers = [i for i, second in enumerate(seconds) if i != index and (second or net == 0)]
        commands += _neighbours(f"eth{net}", net=net, indices=peers)
    if decoy:
        # As with Docker and one running container: a bridge with a carrier.
        commands += [
            "link add docker0 type bridge",
            f"address add {DECOY}/16 dev docker0",
            "link add veth0 type veth peer name veth1",
            "link set veth0 master docker0 up",
            "link set veth1 up",
            "link set docker0 up",
        ]
    return commands


def unplug_commands(index: int) -> list[str]:
    """Return the `ip` commands for the namespace of the controller that disconnect host `index`."""
    return [f"link set group {index + 1} down"]


def _neighbours(device: str, *, net: int, indices: Iterable[int]) -> list[str]:
    """Return commands for permanent neighbours: a host that vanishes does not answer.

    Otherwise the result would be "no route to host" after three seconds, the easier case.
    """
    return [
        f"neighbour add {address(i, net=net)} lladdr {mac(i, net=net)} dev {device} nud permanent"
        for i in indices
    ]


def configure(pid: int, commands: Sequence[str], *, ruleset: str = "") -> None:
    """Load an nftables ruleset, then run `ip` commands, in the network namespace of a process."""
    with joined(pid):
        if ruleset:
            _feed(["nft", "-f", "-"], ruleset)
        _feed(["ip", "-batch", "-"], "\n".join(commands) + "\n")


def joined(pid: int) -> AbstractContextManager[None]:
    """Move the calling thread, and what it starts, to the network namespace of a process."""
    return kernel.joined(f"/proc/{pid}/ns/net", "/proc/thread-self/ns/net", kernel.NEW_NET)


def _feed(argv: list[str], text: str) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(argv)}: {done.stderr.strip()}")
