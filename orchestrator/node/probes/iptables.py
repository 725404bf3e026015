"""Read a ruleset of iptables as `iptables-save` prints it."""

from __future__ import annotations

import shlex
from typing import Any, Collection, Dict, Iterator, List, Optional, Set, Tuple

from . import filtering
from .filtering import Packet, Rule, every, opposite, some

_HOOKS = ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100}  # of the tables, as in nftables
_VERDICTS = {
    "ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "TARPIT": "drop", "NFQUEUE": "drop",
    "RETURN": "return", "DNAT": "accept", "SNAT": "accept", "MASQUERADE": "accept",
    "REDIRECT": "accept", "TPROXY": "accept",
}  # fmt: skip
_PLAIN = ("-m", "--comment", "--reject-with", "--log-prefix", "--log-level", "--to-destination")
_RATES = ("limit", "hashlimit", "connlimit", "quota")

_Place = Tuple[str, str, str]  # family, table, chain


class Ruleset:
    """The base chains of a family, "ip" or "ip6", with their policies and rules."""

    def __init__(self, text: str, family: str = "ip") -> None:
        self._policies: Dict[_Place, str] = {}
        self._rules: Dict[Tuple[str, str], List[str]] = {}
        self._chains: Dict[str, Set[str]] = {}
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith(":"):
                name, policy = line[1:].split()[:2]
                self._chains.setdefault(table, set()).add(name)
                if name in _HOOKS and policy != "-":
                    self._policies[(family, table, name)] = policy.lower()
            elif line.startswith("-A "):
                _, name, words = (line + " ").split(" ", 2)
                self._rules.setdefault((table, name), []).append(words)

    def bases(self) -> Iterator[Tuple[_Place, str, Any]]:
        """Yield each base chain, its hook and its priority in terms of nftables."""
        for place in self._policies:
            yield place, place[2].lower(), _PRIORITIES.get(place[1], 0)

    def blocks(self, base: _Place, packet: Packet) -> bool:
        """Return whether this packet may be dropped or rejected in this base chain."""
        _, table, name = base

        def chains(chain: str) -> Iterator[Rule]:
            for words in self._rules.get((table, chain), []):
                yield _read(shlex.split(words), packet, self._chains.get(table, ()))

        return filtering.blocks(chains, name, self._policies[base])


def _read(words: List[str], packet: Packet, chains: Collection[str]) -> Rule:
    verdict, target = "none", ""
    truths: List[Optional[bool]] = []
    rate = False
    for negated, option, values in _options(words):
        if option in ("-j", "-g"):
            verdict = _VERDICTS.get(values[0], "none")
            if values[0] in chains:
                verdict, target = ("jump" if option == "-j" else "goto"), values[0]
        elif option == "-m" and values[0] in _RATES:
            rate = True
        elif option not in _PLAIN:
            truth = _holds(option, values, packet)
            truths.append(opposite(truth) if negated else truth)
    applies = every(truths)
    if rate:
        # A limit of the rate does not concern reachability.
        applies = False if verdict == "drop" else every((applies, None))
    return Rule(applies, verdict, target)


def _options(words: List[str]) -> List[Tuple[bool, str, List[str]]]:
    """Return each option of a rule with its values, and whether it is negated."""
    found: List[Tuple[bool, str, List[str]]] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
        elif word[:1] == "-" or negated or not found:
            found.append((negated, word, []))
            negated = False
        else:
            found[-1][2].append(word)
    return [(negated, option, values or [""]) for negated, option, values in found]


def _holds(option: str, values: List[str], packet: Packet) -> Optional[bool]:
    first = values[0]
    if option in ("-s", "-d"):
        return filtering.in_network(packet.source if option == "-s" else packet.destination, first)
    if option in ("-i", "-o"):
        return filtering.on_interface(packet, first, option == "-i", "+")
    if option == "-p":
        return filtering.on_protocol(first)
    if option in ("--dport", "--dports"):
        return _on_ports((packet.port, packet.port), first)
    if option in ("--sport", "--sports"):
        return _on_ports(packet.sports, first)
    if option in ("--ctstate", "--state"):
        return "NEW" in first.split(",")
    if option == "--tcp-flags" and len(values) == 2:
        mask, expected = (value.split(",") for value in values)
        return filtering.with_flags(mask, expected)
    if option == "--syn":
        return True
    return None


def _on_ports(ends: Tuple[int, int], text: str) -> Optional[bool]:
    ranges = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        if not low.isdigit() or not (high or low).isdigit():
            return None
        ranges.append((int(low), int(high or low)))
    return some(filtering.between(ends, low, high) for low, high in ranges)
