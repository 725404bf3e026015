"""Where the ranks meet: the subnet that all nodes really share."""

from __future__ import annotations

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.network import check_distinct, choose_network, interface_variables

from .helpers import DOCKER, facts, interface


def test_the_subnet_that_all_share_wins_whatever_the_interfaces_are_called() -> None:
    a = facts("a", interface("eth0", "10.0.0.1/24"), interface("ib0", "10.9.0.1/16"))
    b = facts("b", interface("enp3s0", "10.0.0.2/24"), interface("eth7", "192.0.2.5/24"))
    network = choose_network([a, b])
    assert network is not None
    assert (network.address, network.interfaces, network.subnet) == (
        "10.0.0.1", ("eth0", "enp3s0"), "10.0.0.0/24",
    )  # fmt: skip


def test_a_subnet_with_the_same_address_everywhere_is_no_network_between_nodes() -> None:
    a = facts("a", DOCKER, interface("eth0", "10.0.0.1/24"))
    b = facts("b", DOCKER, interface("eth0", "10.0.0.2/24"))
    network = choose_network([a, b])
    assert network is not None
    assert network.address == "10.0.0.1"
    assert choose_network([facts("a", DOCKER), facts("b", DOCKER)]) is None


def test_the_faster_of_two_shared_networks_wins() -> None:
    def node(n: int) -> object:
        return facts(
            str(n),
            interface("eth0", f"10.0.0.{n}/24", speed=1000),
            interface("eth1", f"10.1.0.{n}/24", speed=100000),
        )

    network = choose_network([node(1), node(2)])  # type: ignore[list-item]
    assert network is not None
    assert network.interfaces == ("eth1", "eth1")


def test_of_equal_networks_the_one_that_ssh_came_by_wins() -> None:
    def node(n: int, ssh: str | None = None) -> object:
        return facts(
            str(n),
            interface("eth0", f"10.0.0.{n}/24"),
            interface("eth1", f"10.1.0.{n}/24"),
            ssh_address=ssh,
        )

    network = choose_network([node(1, "10.1.0.1"), node(2)])  # type: ignore[list-item]
    assert network is not None
    assert network.address == "10.1.0.1"


def test_an_address_that_a_person_gave_decides() -> None:
    a = facts("a", interface("eth0", "10.0.0.1/24"), interface("eth1", "10.1.0.1/24"))
    b = facts("b", interface("eth0", "10.0.0.2/24"), interface("eth1", "10.1.0.2/24"))
    network = choose_network([a, b], "10.1.0.1")
    assert network is not None
    assert network.interfaces == ("eth1", "eth1")
    assert choose_network([a, b], "203.0.113.9") is None


def test_nodes_that_are_one_machine_meet_on_loopback() -> None:
    a = facts("same", interface("eth0", "10.0.0.1/24"))
    network = choose_network([a, a])
    assert network is not None
    assert (network.address, network.interfaces) == ("127.0.0.1", ("lo", "lo"))


def test_no_shared_subnet_is_said() -> None:
    a, b = (
        facts("a", interface("eth0", "10.0.0.1/32")),
        facts("b", interface("eth0", "10.0.0.2/32")),
    )
    assert choose_network([a, b]) is None


def test_ipv6_serves_where_there_is_nothing_else() -> None:
    a = facts("a", interface("eth0", "fd00::1/64"))
    b = facts("b", interface("eth0", "fd00::2/64"))
    network = choose_network([a, b])
    assert network is not None
    assert network.address == "fd00::1"


def test_two_names_of_one_machine_among_others_are_refused() -> None:
    a, b = (
        facts("a", interface("eth0", "10.0.0.1/24")),
        facts("b", interface("eth0", "10.0.0.2/24")),
    )
    check_distinct(["x", "y"], [a, b])
    check_distinct(["x", "y"], [a, a])
    with pytest.raises(PlanError, match="x and z are two names of one machine"):
        check_distinct(["x", "y", "z"], [a, b, a])


def test_what_the_user_set_stays() -> None:
    assert interface_variables("eth0", {}) == {
        "NCCL_SOCKET_IFNAME": "=eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
        "TP_SOCKET_IFNAME": "eth0",
    }
    own = {"NCCL_SOCKET_IFNAME": "ib0", "TP_SOCKET_IFNAME": "ib0"}
    assert interface_variables("eth0", own) == {"GLOO_SOCKET_IFNAME": "eth0"}
    assert interface_variables(None, {}) == {}
