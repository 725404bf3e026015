"""The connection to a node: shared with simultaneous requests, and restored after a failure."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.errors import LoginRefused, NodeError, NodeGone, Unreachable, UsageError
from orchestrator.inventory import Host
from orchestrator.remote.base import Node, OnResult, Transport
from orchestrator.remote.connection import Connector, NodeConnection
from orchestrator.remote.embedded.transport import EmbeddedTransport
from tests.remote.fake import FakeNode


def host(name: str) -> Host:
    return Host(name=name, address="198.18.0.1", python=sys.executable)


class Network(Transport):
    """A transport that reaches each host at once, unless set otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.made: list[FakeNode] = []
        self.unreachable: set[str] = set()
        self.cause = "refused"
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        """What the connecting waits for."""
        self.gate.set()
        self.is_connecting = asyncio.Event()
        self.on_answer: Callable[[], object] = lambda: None

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        assert on_result is not None
        results: list[Node | Unreachable] = []
        self.calls.append([host.name for host in hosts])
        self.is_connecting.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        for host in hosts:
            result: Node | Unreachable
            if host.name in self.unreachable:
                result = Unreachable(host.name, self.cause, "refuses the connection", "start sshd")
            else:
                result = node = FakeNode(host)
                self.made.append(node)
            results.append(result)
            on_result(host.name, result, 0.0)
            self.on_answer()
        return results


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network()
    yield network
    for node in network.made:
        await node.close()


@pytest.fixture
async def dialer(network: Network) -> AsyncIterator[Connector]:
    dialer = Connector(network)
    yield dialer
    await dialer.close()


async def test_simultaneous_dials_share_one_call(network: Network, dialer: Connector) -> None:
    nodes = await asyncio.gather(*(dialer.dial(host(name)) for name in ("a", "b", "c")))
    assert [node.name for node in nodes] == ["a", "b", "c"]
    assert network.calls == [["a", "b", "c"]]
    await dialer.dial(host("a"))
    assert network.calls == [["a", "b", "c"], ["a"]]


async def test_slow_dial_does_not_delay_later_ones(network: Network, dialer: Connector) -> None:
    network.gate.clear()
    slow = asyncio.create_task(dialer.dial(host("slow")))
    await asyncio.wait_for(network.is_connecting.wait(), 5)
    network.is_connecting.clear()
    other = asyncio.create_task(dialer.dial(host("other")))
    await asyncio.wait_for(network.is_connecting.wait(), 5)
    assert network.calls == [["slow"], ["other"]]
    network.gate.set()
    await asyncio.gather(slow, other)


async def test_unreachable_host_is_reported_with_the_remedy_and_affects_no_other(
    network: Network, dialer: Connector
) -> None:
    network.unreachable = {"b"}
    node, error = await asyncio.gather(
        dialer.dial(host("a")), dialer.dial(host("b")), return_exceptions=True
    )
    assert isinstance(node, FakeNode)
    assert isinstance(error, NodeError)
    assert (error.message, error.remedy) == ("b: refuses the connection", "start sshd")


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("host-key-changed", LoginRefused),
        ("authentication", LoginRefused),
        ("gone", NodeGone),
        ("container", NodeGone),
        ("timed-out", NodeError),
    ],
)
async def test_host_that_refuses_login_is_distinguished_from_an_absent_one(
    network: Network, dialer: Connector, cause: str, kind: type[Exception]
) -> None:
    network.unreachable, network.cause = {"b"}, cause
    with pytest.raises(NodeError) as caught:
        await dialer.dial(host("b"))
    assert caught.type is kind


@pytest.mark.parametrize(
    ("error", "heard"),
    [(UsageError("ssh_config: line 3", remedy="fix it"), NodeError), (OSError("no"), OSError)],
)
async def test_error_of_the_whole_call_is_raised_for_each_dial(
    network: Network, dialer: Connector, error: Exception, heard: type[Exception]
) -> None:
    network.error = error
    results = await asyncio.gather(
        dialer.dial(host("a")), dialer.dial(host("b")), return_exceptions=True
    )
    assert [type(result) for result in results] == [heard, heard]
    network.error = None
    assert (await dialer.dial(host("a"))).name == "a"


async def test_dial_cancelled_early_makes_no_connection(
    network: Network, dialer: Connector
) -> None:
    dials = [asyncio.create_task(dialer.dial(host(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    dials[0].cancel()
    assert (await dials[1]).name == "b"
    assert network.calls == [["b"]]


async def test_connection_for_a_cancelled_dial_is_closed(
    network: Network, dialer: Connector
) -> None:
    network.gate.clear()
    dials = [asyncio.create_task(dialer.dial(host(name))) for name in ("a", "b")]
    await asyncio.wait_for(network.is_connecting.wait(), 5)
    dials[0].cancel()
    network.gate.set()
    await asyncio.gather(*dials, return_exceptions=True)
    await dialer.close()
    assert {node.name: node.closed for node in network.made} == {"a": True, "b": False}


async def test_connection_made_during_cancellation_is_closed(
    network: Network, dialer: Connector
) -> None:
    dial = asyncio.create_task(dialer.dial(host("a")))
    network.on_answer = dial.cancel  # the result is set, but not yet received
    with pytest.raises(asyncio.CancelledError):
        await dial
    assert [node.closed for node in network.made] == [True]


async def test_closed_connector_leaves_no_dial_waiting(network: Network) -> None:
    network.gate.clear()
    dialer = Connector(network)
    connecting = asyncio.create_task(dialer.dial(host("a")))
    await asyncio.wait_for(network.is_connecting.wait(), 5)
    asking = asyncio.create_task(dialer.dial(host("b")))
    await asyncio.sleep(0)
    await dialer.close()
    done, _ = await asyncio.wait([connecting, asking], timeout=5)
    assert done == {connecting, asking}
    assert connecting.cancelled()
    assert asking.cancelled()


# -- node connections ---------------------------------------------------------------------------


async def test_node_connection_before_connect_has_no_agent(dialer: Connector) -> None:
    line = NodeConnection(host("a"), dialer)
    assert not line.is_up
    with pytest.raises(NodeError, match="a: not connected"):
        _ = line.agent
    await line.close()  # does nothing


async def test_broken_node_connection_is_restored(
    network: Network, dialer: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    line = NodeConnection(host("a"), dialer)
    await line.connect()
    assert (await line.agent.ask("facts"))["home"] == str(tmp_path)
    network.made[0].drop()
    with pytest.raises(NodeError):
        await line.agent.ask("facts")
    await line.connect()
    assert line.is_up
    assert (await line.agent.ask("facts"))["home"] == str(tmp_path)
    assert [node.closed for node in network.made] == [True, False]
    await line.close()
    assert [node.closed for node in network.made] == [True, True]


async def test_connection_is_closed_if_the_agent_does_not_start(
    network: Network, dialer: Connector
) -> None:
    line = NodeConnection(Host(name="a", address="198.18.0.1", python="/no/such/python"), dialer)
    with pytest.raises(NodeError, match="there is no Python"):
        await line.connect()
    assert not line.is_up
    assert [node.closed for node in network.made] == [True]


async def test_node_connections_to_real_servers_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with EmbeddedTransport(2, tmp_path) as cluster:
        dialer = Connector(cluster)
        lines = [NodeConnection(host, dialer) for host in cluster.hosts]
        for _ in range(2):  # the second time, it reconnects
            await asyncio.gather(*(line.connect() for line in lines))
            answers = [await line.agent.ask("facts") for line in lines]
            assert [answer["home"] for answer in answers] == [str(tmp_path)] * 2
        await dialer.close()
        await asyncio.gather(*(line.close() for line in lines))
