"""Which firewall this node really runs, and which of its chains may stop what a job sends."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import command, filtering, iptables, nftables, read

_TIME = 4.0  # seconds for one command; firewall-cmd talks to a service
_MOST_CHAINS = 64
_INCOMING = ("ingress", "prerouting", "input")
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100}  # of iptables' tables, as in nftables
# What nft's own language takes for a name, but for its keywords; its JSON takes any name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")

Chain = Dict[str, Any]


def firewall(
    interface: Optional[str],
    address: Optional[str],
    subnet: Optional[str],
    main_port: Optional[int],
    root: str = "/",
) -> Dict[str, Any]:
    """Return {"manager", "zone", "chains", "unreadable"} as to TCP among nodes of `subnet`.

    "manager" is "ufw", "firewalld", or null, "zone" firewalld's for the `interface`. "chains" are the
    base chains that this node's packets pass, those that block first: {"tool", "family", "table",
    "name", "hook", "priority", "blocks", "plain"} (`preflight/reach/firewall.py` says what these are).
    "unreadable" says why not all are known. The ports are `main_port` and the ephemeral ones.
    """
    packets = _packets(interface, address, subnet, main_port, port_range(root))
    own, problem = _iptables_chains(packets, root)
    others, trouble = _nft_chains(packets)
    covered = [(chain["table"], chain["name"]) for chain in own if not chain.pop("legacy")]
    family = "ip" if packets[0].version == 4 else "ip6"
    chains = own + [
        chain
        for chain in others
        if chain["family"] != family or (chain["table"], chain["name"]) not in covered
    ]
    if command.find("nft") is None and command.find("iptables") is None:
        problem = "neither nft nor iptables is installed"
    chains = sorted(chains, key=lambda chain: not chain["blocks"])[:_MOST_CHAINS]
    for chain in chains:
        chain["plain"] = chain["blocks"] and chain["tool"] == "nft" and _is_plain(chain)
    manager, zone = _manager(interface, root)
    return {"manager": manager, "zone": zone, "chains": chains, "unreadable": trouble or problem}


def port_range(root: str = "/") -> List[int]:
    """Return the first and the last of the ports that the kernel gives to whoever asks for any."""
    text = read.text(root, "/proc/sys/net/ipv4/ip_local_port_range")
    if text is None:
        raise ValueError("net.ipv4.ip_local_port_range cannot be read")
    low, high = text.split()
    return [int(low), int(high)]


def _packets(
    interface: Optional[str],
    address: Optional[str],
    subnet: Optional[str],
    main_port: Optional[int],
    ports: List[int],
) -> List[filtering.Packet]:
    """Return samples of what the job sends: in and out, to each end of the ranges."""
    here = None if address is None else filtering.network(address)
    there = None if subnet is None else filtering.network(subnet)
    known = there or here
    low, high = ports
    return [
        filtering.Packet(
            incoming=incoming,
            version=4 if known is None else known.version,
            source=there if incoming else here,
            destination=here if incoming else there,
            port=port,
            sports=(low, high),
            interface=interface,
        )
        for incoming in (True, False)
        for port in dict.fromkeys((main_port or low, low, (low + high) // 2, high))
    ]


def _nft_chains(packets: List[filtering.Packet]) -> Tuple[List[Chain], Optional[str]]:
    """Return the chains that nft knows, iptables' own among them, and why there may be more."""
    nft = command.find("nft")
    if nft is None:
        return [], None
    done = command.run([nft, "-j", "list", "ruleset"], _TIME)
    if done.code != 0:
        return [], "nft: {}".format(done.why if done.code is not None else "it takes too long")
    try:
        return _chains_of(nftables.Ruleset(json.loads(done.out)), packets), None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [], "what nft prints cannot be read ({})".format(type(error).__name__)


def _chains_of(ruleset: nftables.Ruleset, packets: List[filtering.Packet]) -> List[Chain]:
    return [
        {
            "tool": "nft",
            "family": place[0],
            "table": place[1],
            "name": place[2],
            "hook": base["hook"],
            "priority": base.get("prio", 0),
            "blocks": any(
                ruleset.blocks(place, packet) for packet in _passing(base["hook"], packets)
            ),
        }
        for place, base in ruleset.bases.items()
    ]


def _iptables_chains(
    packets: List[filtering.Packet], root: str
) -> Tuple[List[Chain], Optional[str]]:
    """Return the chains of iptables in either of its kinds, and why there may be more."""
    name = "iptables" if packets[0].version == 4 else "ip6tables"
    tool, saver = command.find(name), command.find(name + "-save")
    if tool is None or saver is None:
        return [], None
    legacy = "nf_tables" not in command.run([tool, "--version"], _TIME).out
    savers = [(name, saver, legacy)]
    other = command.find(name + "-legacy-save")
    tables = "/proc/net/ip_tables_names" if name == "iptables" else "/proc/net/ip6_tables_names"
    # Only where there are such tables: to look at them would make them.
    if not legacy and other is not None and read.text(root, tables):
        savers.append((name + "-legacy", other, True))
    chains: List[Chain] = []
    for called, path, is_legacy in savers:
        done = command.run([path], _TIME)
        if done.code != 0:
            return chains, "{}: {}".format(called, done.why)
        try:
            told = _chains_of_tables(iptables.Ruleset(done.out), packets)
        except (LookupError, ValueError) as error:
            problem = "what {} prints cannot be read ({})"
            return chains, problem.format(path, type(error).__name__)
        chains += [dict(chain, tool=called, legacy=is_legacy) for chain in told]
    return chains, None


def _chains_of_tables(ruleset: iptables.Ruleset, packets: List[filtering.Packet]) -> List[Chain]:
    return [
        {
            "family": "ip" if packets[0].version == 4 else "ip6",
            "table": base[0],
            "name": base[1],
            "hook": ruleset.hook(base),
            "priority": _PRIORITIES.get(base[0], 0),
            "blocks": any(
                ruleset.blocks(base, packet) for packet in _passing(ruleset.hook(base), packets)
            ),
        }
        for base in ruleset.bases
    ]


def _passing(hook: str, packets: List[filtering.Packet]) -> Iterator[filtering.Packet]:
    return (packet for packet in packets if packet.incoming == (hook in _INCOMING))


def _is_plain(chain: Chain) -> bool:
    """Return whether nft's own language can name this chain: nft itself knows its keywords."""
    nft = command.find("nft")
    if nft is None or not all(_NAME.match(chain[part]) for part in ("table", "name")):
        return False
    place = [chain["family"], chain["table"], chain["name"]]
    return command.run([nft, "--check", "insert", "rule", *place, "accept"], _TIME).code == 0


def _manager(interface: Optional[str], root: str) -> Tuple[Optional[str], Optional[str]]:
    """Return the manager of the rules, and its zone for the interface."""
    if _ufw_is_active(root):
        return "ufw", None
    path = command.find("firewall-cmd")
    if path is None or not _firewalld_runs(path):
        return None, None
    for question in ["--get-zone-of-interface={}".format(interface)], ["--get-default-zone"]:
        done = command.run([path, *question], _TIME)
        zone = done.out.strip()
        if done.code == 0 and zone and interface is not None:
            return "firewalld", zone
    return "firewalld", None


def _ufw_is_active(root: str) -> bool:
    path = command.find("ufw")
    settings = read.text(root, "/etc/ufw/ufw.conf") or ""
    if path is None or not re.search(r"(?mi)^[ \t]*ENABLED[ \t]*=[ \t]*[\"']?yes\b", settings):
        return False
    done = command.run([path, "status"], _TIME)
    return done.code != 0 or "Status: active" in done.out  # only root is told


def _firewalld_runs(path: str) -> bool:
    done = command.run([path, "--state"], _TIME)
    if done.code == 0 or "not running" in done.out + done.err:
        return done.code == 0
    systemctl = command.find("systemctl")  # whoever may not ask the service itself
    return systemctl is not None and (
        command.run([systemctl, "is-active", "firewalld"], _TIME).code == 0
    )
