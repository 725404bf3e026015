"""The network of the ranks: a subnet that all nodes share."""

from __future__ import annotations

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.network import check_distinct, choose_network, interface_variables

from .helpers import DOCKER, facts, interface


def test_subnet_shared_by_all_nodes_is_chosen() -> None:
    a = facts("a", interface("eth0", "10.0.0.1/24"), interface("ib0", "10.9.0.1/16"))
    b = facts("b", interface("enp3s0", "10.0.0.2/24"), interface("eth7", "192.0.2.5/24"))
    network = choose_network([a, b])
    assert network is not None
    assert (network.address, network.interfaces, network.subnet) == (
        "10.0.0.1", ("eth0", "enp3s0"), "10.0.0.0/24",
    )  # fmt: skip


def test_subnet_with_the_same_address_on_each_node_is_not_shared() -> None:
    a = facts("a", DOCKER, interface("eth0", "10.0.0.1/24"))
    b = facts("b", DOCKER, interface("eth0", "10.0.0.2/24"))
    network = choose_network([a, b])
    assert network is not None
    assert network.address == "10.0.0.1"
    assert choose_network([facts("a", DOCKER), facts("b", DOCKER)]) is None


def test_faster_of_two_shared_networks_is_chosen() -> None:
    def node(n: int) -> object:
        return facts(
            str(n),
            interface("eth0", f"10.0.0.{n}/24", speed=1000),
            interface("eth1", f"10.1.0.{n}/24", speed=100000),
        )

    network = choose_network([node(1), node(2)])  # type: ignore[list-item]
    assert network is not None
    assert network.interfaces == ("eth1", "eth1")


def test_network_used_for_ssh_is_chosen_among_equals() -> None:
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


def test_given_address_decides() -> None:
    a = facts("a", interface("eth0", "10.0.0.1/24"), interface("eth1", "10.1.0.1/24"))
    b = facts("b", interface("eth0", "10.0.0.2/24"), interface("eth1", "10.1.0.2/24"))
    network = choose_network([a, b], "10.1.0.1")
    assert network is not None
    assert network.interfaces == ("eth1", "eth1")
    assert choose_network([a, b], "203.0.113.9") is None


def test_internal_addresses_decide() -> None:
    slow = [interface("eth1", f"10.1.0.{n}/24", speed=1000) for n in range(3)]
    nodes = [
        facts(str(n), interface("eth0", f"10.0.0.{n + 1}/24", speed=100_000), slow[n])
        for n in range(3)
    ]
    # One is enough; that of a node other than the main node decides, too.
    for internal in ([None, "10.1.0.1", None], ["10.1.0.0", "10.1.0.1", "10.1.0.2"]):
        network = choose_network(nodes, None, internal)
        assert network is not None
        assert network.interfaces == ("eth1",) * 3
        assert network.addresses == ("10.1.0.0", "10.1.0.1", "10.1.0.2")
        assert network.address == "10.1.0.0"
    assert choose_network(nodes, None, ["10.0.0.1", "10.1.0.1", None]) is None
    assert choose_network(nodes, "10.0.0.1", ["10.1.0.0", None, None]) is None


def test_internal_address_chooses_among_several_of_an_interface() -> None:
    a = facts("a", interface("eth0", "10.0.0.1/24", "10.0.0.9/24"))
    b = facts("b", interface("eth0", "10.0.0.2/24"))
    network = choose_network([a, b], None, ["10.0.0.9", None])
    assert network is not None
    assert network.addresses == ("10.0.0.9", "10.0.0.2")


def test_nodes_on_one_machine_use_loopback() -> None:
    a = facts("same", interface("eth0", "10.0.0.1/24"))
    network = choose_network([a, a])
    assert network is not None
    assert (network.address, network.interfaces) == ("127.0.0.1", ("lo", "lo"))


def test_nodes_without_a_shared_subnet_have_no_network() -> None:
    a, b = (
        facts("a", interface("eth0", "10.0.0.1/32")),
        facts("b", interface("eth0", "10.0.0.2/32")),
    )
    assert choose_network([a, b]) is None


def test_ipv6_is_used_if_there_is_no_ipv4() -> None:
    a = facts("a", interface("eth0", "fd00::1/64"))
    b = facts("b", interface("eth0", "fd00::2/64"))
    network = choose_network([a, b])
    assert network is not None
    assert network.address == "fd00::1"


def test_machine_with_two_names_among_others_is_refused() -> None:
    a, b = (
        facts("a", interface("eth0", "10.0.0.1/24")),
        facts("b", interface("eth0", "10.0.0.2/24")),
    )
    check_distinct(["x", "y"], [a, b])
    check_distinct(["x", "y"], [a, a])
    with pytest.raises(PlanError, match="x and z are two names of one machine"):
        check_distinct(["x", "y", "z"], [a, b, a])


def test_variables_of_the_user_are_kept() -> None:
    assert interface_variables("eth0", {}) == {
        "NCCL_SOCKET_IFNAME": "=eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
        "TP_SOCKET_IFNAME": "eth0",
    }
    own = {"NCCL_SOCKET_IFNAME": "ib0", "TP_SOCKET_IFNAME": "ib0"}
    assert interface_variables("eth0", own) == {"GLOO_SOCKET_IFNAME": "eth0"}
    assert interface_variables(None, {}) == {}
