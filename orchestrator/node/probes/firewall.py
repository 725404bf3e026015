"""The firewall that this node runs, and which of its chains may stop the packets of a job."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Optional, Tuple, Union

from . import command, filtering, iptables, nftables, read

_TIMEOUT = 4.0  # seconds for one command; firewall-cmd talks to a service
_MAX_CHAINS = 64
_INCOMING = ("ingress", "prerouting", "input")
# What nft's own language accepts as a name, except its keywords; its JSON accepts any name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")

Chain = Dict[str, Any]


def firewall(
    interface: Optional[str],
    address: Optional[str],
    subnet: Optional[str],
    main_port: Optional[int],
    root: str = "/",
) -> Dict[str, Any]:
    """Return {"manager", "zone", "chains", "unreadable"} for TCP between nodes of `subnet`.

    "manager" is "ufw", "firewalld", or null, "zone" firewalld's for the `interface`. "chains" are the
    base chains that this node's packets pass, those that block first: {"tool", "family", "table",
    "name", "hook", "priority", "blocks", "plain"} (`preflight/reach/firewall.py` explains them).
    "unreadable" is why not all are known. The ports are `main_port` and the ephemeral ones.
    """
    packets = _packets(interface, address, subnet, main_port, port_range(root))
    own, problem = _iptables_chains(packets, root)
    others, trouble = _nft_chains(packets)
    covered = [(chain["table"], chain["name"]) for chain in own if not chain.pop("legacy")]
    chains = own + [
        chain
        for chain in others
        if chain["family"] != packets[0].family or (chain["table"], chain["name"]) not in covered
    ]
    if command.find("nft") is None and command.find("iptables") is None:
        problem = "neither nft nor iptables is installed"
    chains = sorted(chains, key=lambda chain: not chain["blocks"])[:_MAX_CHAINS]
    for chain in chains:
        chain["plain"] = chain["blocks"] and chain["tool"] == "nft" and _is_plain(chain)
    manager, zone = _manager(interface, root)
    return {"manager": manager, "zone": zone, "chains": chains, "unreadable": trouble or problem}


def port_range(root: str = "/") -> List[int]:
    """Return the first and the last of the kernel's ephemeral ports."""
    low, high = read.required(root, "/proc/sys/net/ipv4/ip_local_port_range").split()
    return [int(low), int(high)]


def _packets(
    interface: Optional[str],
    address: Optional[str],
    subnet: Optional[str],
    main_port: Optional[int],
    ports: List[int],
) -> List[filtering.Packet]:
    """Return samples of the job's packets: in and out, to each end of the ranges of ports."""
    here, there = filtering.network(address), filtering.network(subnet)
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
    """Return the chains that nft knows, including those of iptables, and why there may be more."""
    done = command.run_found("nft", "-j", "list", "ruleset", seconds=_TIMEOUT)
    if done is None:
        return [], None
    if done.code != 0:
        return [], "nft: {}".format(done.why if done.code is not None else "it takes too long")
    try:
        return _chains("nft", nftables.Ruleset(json.loads(done.out)), packets), None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [], "the output of nft cannot be read ({})".format(type(error).__name__)


def _iptables_chains(
    packets: List[filtering.Packet], root: str
) -> Tuple[List[Chain], Optional[str]]:
    """Return the chains of iptables in either of its variants, and why there may be more."""
    family = packets[0].family
    name = family + "tables"
    version = command.run_found(name, "--version", seconds=_TIMEOUT)
    saver = command.find(name + "-save")
    if version is None or saver is None:
        return [], None
    legacy = "nf_tables" not in version.out
    savers = [(name, saver, legacy)]
    other = command.find(name + "-legacy-save")
    # Only if there are such tables: reading them would create them.
    if (
        not legacy
        and other is not None
        and read.text(root, "/proc/net/{}_tables_names".format(family))
    ):
        savers.append((name + "-legacy", other, True))
    chains: List[Chain] = []
    for tool, path, is_legacy in savers:
        done = command.run([path], _TIMEOUT)
        if done.code != 0:
            return chains, "{}: {}".format(tool, done.why)
        try:
            found = _chains(tool, iptables.Ruleset(done.out, family), packets)
        except (LookupError, ValueError) as error:
            problem = "the output of {} cannot be read ({})"
            return chains, problem.format(path, type(error).__name__)
        chains += [dict(chain, legacy=is_legacy) for chain in found]
    return chains, None


def _chains(
    tool: str, ruleset: Union[nftables.Ruleset, iptables.Ruleset], packets: List[filtering.Packet]
) -> List[Chain]:
    return [
        {
            "tool": tool,
            "family": base[0],
            "table": base[1],
            "name": base[2],
            "hook": hook,
            "priority": priority,
            "blocks": any(
                ruleset.blocks(base, packet)
                for packet in packets
                if packet.incoming == (hook in _INCOMING)
            ),
        }
        for base, hook, priority in ruleset.bases()
    ]


def _is_plain(chain: Chain) -> bool:
    """Return whether nft's own language can name this chain; nft itself knows its keywords."""
    if not all(_NAME.match(chain[part]) for part in ("table", "name")):
        return False
    rule = ["insert", "rule", chain["family"], chain["table"], chain["name"], "accept"]
    done = command.run_found("nft", "--check", *rule, seconds=_TIMEOUT)
    return done is not None and done.code == 0


def _manager(interface: Optional[str], root: str) -> Tuple[Optional[str], Optional[str]]:
    """Return the manager of the rules, and its zone for the interface."""
    if _ufw_is_active(root):
        return "ufw", None
    if not _firewalld_runs():
        return None, None
    for question in ("--get-zone-of-interface={}".format(interface), "--get-default-zone"):
        done = command.run_found("firewall-cmd", question, seconds=_TIMEOUT)
        zone = "" if done is None else done.out.strip()
        if done is not None and done.code == 0 and zone and interface is not None:
            return "firewalld", zone
    return "firewalld", None


def _ufw_is_active(root: str) -> bool:
    settings = read.text(root, "/etc/ufw/ufw.conf") or ""
    if not re.search(r"(?mi)^[ \t]*ENABLED[ \t]*=[ \t]*[\"']?yes\b", settings):
        return False
    done = command.run_found("ufw", "status", seconds=_TIMEOUT)
    # Only root is shown the status.
    return done is not None and (done.code != 0 or "Status: active" in done.out)


def _firewalld_runs() -> bool:
    done = command.run_found("firewall-cmd", "--state", seconds=_TIMEOUT)
    if done is None:
        return False
    if done.code == 0 or "not running" in done.out + done.err:
        return done.code == 0
    # This user may not ask the service itself.
    state = command.run_found("systemctl", "is-active", "firewalld", seconds=_TIMEOUT)
    return state is not None and state.code == 0
