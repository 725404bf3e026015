"""Read a ruleset of nftables as `nft -j list ruleset` prints it (libnftables-json(5))."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import filtering
from .filtering import Packet, Rule, every, opposite, some

_HOOKS = ("ingress", "prerouting", "input", "output", "postrouting", "egress")

_VERDICTS = {
    "accept": "accept", "drop": "drop", "reject": "drop", "queue": "drop", "return": "return",
    "jump": "jump", "goto": "goto",
    "dnat": "accept", "snat": "accept", "masquerade": "accept", "redirect": "accept",
    "tproxy": "accept",
}  # fmt: skip
# Statements that decide nothing; any other may end its rule.
_IDLE = (
    "counter", "log", "mangle", "notrack", "set", "map", "ct helper", "ct timeout", "ct expectation",
    "dup", "last", "secmark",
)  # fmt: skip
_RATES = ("limit", "quota", "ct count", "meter")  # which do not concern reachability
_MAX_ELEMENTS = 5000  # of one set

_Place = Tuple[str, str, str]  # family, table, chain
Test = Callable[[Any], Optional[bool]]


class Ruleset:
    """The base chains that a node's own packets pass, with their rules."""

    def __init__(self, document: Dict[str, Any]) -> None:
        self._bases: Dict[_Place, Dict[str, Any]] = {}
        self._rules: Dict[_Place, List[List[Any]]] = {}
        self._sets: Dict[_Place, List[Any]] = {}
        for entry in document["nftables"]:
            ((kind, value),) = entry.items()
            if kind == "chain" and value.get("hook") in _HOOKS and value["family"] != "bridge":
                self._bases[(value["family"], value["table"], value["name"])] = value
            elif kind == "rule":
                place = (value["family"], value["table"], value["chain"])
                self._rules.setdefault(place, []).append(value.get("expr", []))
            elif kind in ("set", "map"):
                place = (value["family"], value["table"], value["name"])
                self._sets[place] = value.get("elem", [])

    def bases(self) -> Iterator[Tuple[_Place, str, Any]]:
        """Yield each base chain, its hook and its priority."""
        for place, base in self._bases.items():
            yield place, base["hook"], base.get("prio", 0)

    def blocks(self, base: _Place, packet: Packet) -> bool:
        """Return whether this packet may be dropped or rejected in this base chain."""
        family, table, name = base
        own = self._bases[base]
        devices = own.get("dev", packet.interface)  # of a chain at the interface itself
        devices = devices if isinstance(devices, list) else [devices]
        if {family, packet.family} == {"ip", "ip6"} or packet.interface not in devices:
            return False

        def chains(chain: str) -> Iterator[Rule]:
            place = (family, table, chain)
            for parts in self._rules.get(place, []):
                yield from self._read(place, parts, packet)

        return filtering.blocks(chains, name, own.get("policy", "accept"))

    def _read(self, place: _Place, parts: List[Any], packet: Packet) -> Iterator[Rule]:
        """Yield the rules that the parts of one rule amount to: a map of verdicts is several."""
        truth: Optional[bool] = True
        rate = False
        for part in parts:
            ((kind, value),) = part.items()
            if kind == "match":
                truth = every((truth, self._match(place, value, packet)))
            elif kind == "vmap":
                test = _test(value["key"], packet)
                for element in self._elements(place, value["data"]):
                    key, verdict = (None, None) if element is None else element
                    found = self._ask(test, place, key)
                    yield _decide(every((truth, found)), verdict or {"drop": None}, rate)
                return
            elif kind in _RATES:
                rate = True
            elif kind in _VERDICTS:
                yield _decide(truth, part, rate)
                return
            elif kind == "xt":
                # A match or target of iptables; newer versions of nft print its name.
                name = value.get("name") if isinstance(value, dict) else None
                if part is parts[-1] and name in (None, "REJECT", "TARPIT", "NFQUEUE"):
                    yield _decide(every((truth, None)), {"drop": None}, rate)
                truth = every((truth, None))
            elif kind not in _IDLE:
                truth = every((truth, None))

    def _match(self, place: _Place, match: Dict[str, Any], packet: Packet) -> Optional[bool]:
        left, right, operator = match["left"], match["right"], match["op"]
        if _is_of_other_protocol(left, packet):
            return False
        if operator in ("<", "<=", ">", ">="):
            right = _as_range(operator, right)
        found = self._ask(_test(left, packet), place, right)
        return opposite(found) if operator == "!=" else found

    def _ask(self, test: Test, place: _Place, value: Any) -> Optional[bool]:
        elements = self._elements(place, value)
        return some(None if element is None else test(element) for element in elements)

    def _elements(self, place: _Place, value: Any) -> Iterator[Any]:
        """Yield the values that are meant; None for unknown ones."""
        if isinstance(value, str) and value.startswith("@"):
            value = {"set": self._sets.get((place[0], place[1], value[1:]), [None])}
        if isinstance(value, dict) and "set" in value:
            elements = value["set"] if isinstance(value["set"], list) else [value["set"]]
            yield from (_plain(element) for element in elements[:_MAX_ELEMENTS])
            if len(elements) > _MAX_ELEMENTS:
                yield None
        else:
            yield value


def _plain(element: Any) -> Any:
    """Return an element without its timeout and counter; in a map the key has them."""
    if isinstance(element, list) and len(element) == 2 and isinstance(element[1], dict):
        return [_plain(element[0]), element[1]]
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _decide(truth: Optional[bool], statement: Dict[str, Any], rate: bool) -> Rule:
    ((kind, value),) = statement.items()
    verdict = _VERDICTS.get(kind, "none")
    if rate:
        truth = False if verdict == "drop" else every((truth, None))
    return Rule(truth, verdict, str(value["target"]) if verdict in ("jump", "goto") else "")


def _is_of_other_protocol(left: Any, packet: Packet) -> bool:
    """Return whether a match on this field makes a rule one for packets of another protocol."""
    if isinstance(left, dict) and "&" in left:
        left = left["&"][0]
    field = left.get("payload") if isinstance(left, dict) else None
    if not isinstance(field, dict) or "protocol" not in field:
        return False
    return field["protocol"] not in ("tcp", "th", packet.family, "ether", "vlan")


def _as_range(operator: str, right: Any) -> Any:
    if not isinstance(right, int):
        return None
    if operator[0] == "<":
        return {"range": [0, right - (operator == "<")]}
    return {"range": [right + (operator == ">"), 0xFFFFFFFF]}


def _test(left: Any, packet: Packet) -> Test:
    """Return a function that returns whether the packet's field `left` has a value."""
    if not isinstance(left, dict) or len(left) != 1:
        return _unknown
    ((kind, field),) = left.items()
    if kind == "&" and field[0] == {"payload": {"protocol": "tcp", "field": "flags"}}:
        mask = _flags(field[1])
        return lambda value: filtering.with_flags(mask, _flags(value))
    if kind == "fib" and field.get("result") == "oif":
        # "missing": the reverse path filter. The route back to a node of the job is the one it came by.
        return lambda value: False if value is False else None
    if not isinstance(field, dict):
        return _unknown
    return _tests(packet).get(
        (kind, field.get("protocol"), field.get("field", field.get("key"))), _unknown
    )


@functools.lru_cache(maxsize=64)
def _tests(packet: Packet) -> Dict[Any, Test]:
    """Return the tests of the packet's fields, by kind, protocol, and field or key."""
    on_interface = functools.partial(filtering.on_interface, packet, wildcard="*")
    tests: Dict[Any, Test] = {
        ("ct", None, "state"): lambda value: "new" in _flags(value),
        ("meta", None, "l4proto"): filtering.on_protocol,
        ("meta", None, "nfproto"): lambda value: value == "ipv{}".format(packet.version),
        ("meta", None, "protocol"): lambda value: value == packet.family,
    }
    for name in ("", "name"):
        tests["meta", None, "iif" + name] = functools.partial(on_interface, incoming=True)
        tests["meta", None, "oif" + name] = functools.partial(on_interface, incoming=False)
    for protocol in ("ip", "ip6"):
        tests["payload", protocol, "saddr"] = lambda value: _on_address(packet.source, value)
        tests["payload", protocol, "daddr"] = lambda value: _on_address(packet.destination, value)
        tests["payload", protocol, "protocol"] = filtering.on_protocol
        tests["payload", protocol, "nexthdr"] = filtering.on_protocol
    for protocol in ("tcp", "th"):
        tests["payload", protocol, "dport"] = lambda value: _on_port((packet.port,) * 2, value)
        tests["payload", protocol, "sport"] = lambda value: _on_port(packet.sports, value)
        tests["payload", protocol, "flags"] = lambda value: "syn" in _flags(value)
    return tests


def _unknown(value: Any) -> Optional[bool]:
    return None


def _on_address(end: Optional[filtering.Network], value: Any) -> Optional[bool]:
    if isinstance(value, dict) and "range" in value:
        return filtering.within(end, *value["range"])
    if isinstance(value, dict) and "prefix" in value:
        value = "{addr}/{len}".format(**value["prefix"])
    return filtering.in_network(end, value)


def _on_port(ends: Tuple[int, int], value: Any) -> Optional[bool]:
    if isinstance(value, dict) and "range" in value:
        low, high = value["range"]
    else:
        low = high = value
    if not isinstance(low, int) or not isinstance(high, int):
        return None
    return filtering.between(ends, low, high)


def _flags(value: Any) -> List[str]:
    """Return the flags of a value: one name, a list, or nested alternatives."""
    if isinstance(value, dict) and "|" in value:
        value = value["|"]
    if isinstance(value, list):
        return [flag for part in value for flag in _flags(part)]
    return [str(value)]
