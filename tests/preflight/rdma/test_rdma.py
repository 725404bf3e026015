"""Verdicts on InfiniBand, RoCE and EFA, from recorded /sys trees to findings and remedies."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probes import gpu, infiniband
from orchestrator.plan import Job
from orchestrator.preflight.gpus.devices import GPU
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, NoAnswer, Status
from orchestrator.preflight.rdma.devices import RDMA
from orchestrator.preflight.rdma.efa import EFA
from orchestrator.preflight.rdma.infiniband import CHECKS, MEMLOCK

from ...recorded import shapes
from ..contexts import answered, brief, make_context

Raw = dict[str, Any]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Raw]:
    """Read a recorded tree as a node does."""
    for name in [n for n in os.environ if n.startswith(("NCCL_", "FI_"))]:
        monkeypatch.delenv(name)

    def read(*names: str) -> Raw:
        root = tmp_path / "-".join(names)
        if not root.exists():
            shapes.tree(root, *names)
        return infiniband.infiniband(str(root))

    return read


def nodes(*raw: Raw, gpus: int = 8, **more: Any) -> Context:
    answers: dict[str, list[Any]] = {**answered(RDMA, *raw), **more.pop("answers", {})}
    facts_of = {i: {"gpus": gpus} for i in range(len(raw))}
    return make_context(len(raw), facts_of=facts_of, answers=answers, **more)


def job(**environment: str) -> Job:
    return Job("train.py", launcher="torchrun", environment=environment)


def verdict(check: str, where: Context) -> list[Finding]:
    (one,) = [entry for entry in CHECKS if entry.id == check]
    return judge_check(one, where)


def ports(raw: Raw, *names: str, **values: Any) -> Raw:
    """The same node, with these values in the ports of those devices."""
    changed = deepcopy(raw)
    for device in changed["devices"]:
        if device["name"] in names:
            device["ports"][0].update(values)
    return changed


NOTHING: Raw = {
    "devices": [],
    "verbs": 0,
    "environment": {},
    "gdr": {"peermem": False, "kernel": "5.15.0-105-generic"},
}
UNLIMITED: Raw = {"soft": None, "exempt": False}
NO_GPU: Raw = {
    "devices": [], "pci": [], "switches": 0, "version": None, "open": False, "visible": None,
    "amd": 0, "smi": None,
}  # fmt: skip
DOWN: Raw = {"state": "1: DOWN", "phys": "2: Polling"}


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_check_without_devices_is_skipped_for_all_nodes(check: str) -> None:
    answers = {
        **answered(MEMLOCK, UNLIMITED, UNLIMITED),
        **answered(GPU, NO_GPU, NO_GPU),
        **answered(EFA, *[{"pci": 0, "libfabric": [], "plugin": []}] * 2),
    }
    (finding,) = verdict(check, nodes(NOTHING, NOTHING, answers=answers))
    assert (finding.status, finding.nodes) == (Status.SKIP, ("node0", "node1"))


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_check_of_a_node_without_an_answer_is_incomplete(check: str) -> None:
    silence: dict[str, list[Any]] = {
        probe.name: [NoAnswer("no answer within 20 s")] for probe in (RDMA, MEMLOCK, GPU, EFA)
    }
    (finding,) = verdict(check, make_context(1, answers=silence))
    assert finding.status is Status.INCOMPLETE


# Ports


def test_port_of_equal_nodes_passes_with_a_spare_port_down(tree: Callable[..., Raw]) -> None:
    (finding,) = verdict("ib.port", nodes(*[tree("infiniband-ndr-x8")] * 3))
    assert finding.status is Status.PASS
    assert finding.message == "8 ports active, InfiniBand at 400 Gb/s"
    assert finding.data["node0"]["mlx5_4/1"]["state"] == "DOWN"


def test_port_with_fewer_active_than_most_warns(tree: Callable[..., Raw]) -> None:
    good = tree("infiniband-ndr-x8")
    worst, other = verdict("ib.port", nodes(good, ports(good, "mlx5_3", **DOWN), good))
    assert (worst.status, worst.nodes) == (Status.WARN, ("node1",))
    assert worst.message == (
        "7 ports active, most nodes have 8: mlx5_3/1 DOWN (Polling), mlx5_4/1 DOWN (Disabled)"
    )
    assert other.nodes == ("node0", "node2")


def test_port_without_an_active_one_fails_if_ranks_have_gpus(
    tree: Callable[..., Raw],
) -> None:
    good = tree("infiniband-ndr-x8")
    dead = ports(good, *[device["name"] for device in good["devices"]], **DOWN)
    worst, _ = verdict("ib.port", nodes(good, dead))
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node1",))
    assert worst.message.startswith("no port is active (mlx5_0/1 DOWN (Polling),")
    assert verdict("ib.port", nodes(good, dead, gpus=0))[0].status is Status.WARN
    (alone,) = verdict("ib.port", nodes(dead, dead))  # all use TCP
    assert alone.status is Status.WARN


def test_port_of_a_node_without_devices_fails_if_others_have_some(tree: Callable[..., Raw]) -> None:
    worst, _ = verdict("ib.port", nodes(tree("infiniband-ndr-x8"), NOTHING))
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node1",))
    assert worst.message == "no RDMA device, though other nodes have active ports"


def test_port_in_init_names_the_missing_subnet_manager(tree: Callable[..., Raw]) -> None:
    ailing = tree("infiniband-hdr-ailing")
    waiting = ports(ailing, "mlx5_1", **DOWN)
    (finding,) = verdict("ib.port", nodes(waiting))
    assert finding.message == (
        "no subnet manager has configured mlx5_0/1 (state INIT): NCCL uses TCP"
    )


def test_port_with_a_slower_link_warns(tree: Callable[..., Raw]) -> None:
    good = tree("infiniband-ndr-x8")
    slow = ports(good, "mlx5_2", rate="200 Gb/sec (2X NDR)")
    worst, _ = verdict("ib.port", nodes(good, slow, good))
    assert (worst.status, worst.nodes) == (Status.WARN, ("node1",))
    assert worst.message == ("InfiniBand at 200 and 400 Gb/s, most nodes: InfiniBand at 400 Gb/s")


def test_port_with_another_link_layer_fails(tree: Callable[..., Raw]) -> None:
    roce = tree("roce-x2")
    ib = ports(roce, "mlx5_0", "mlx5_1", layer="InfiniBand", gids=[])
    worst, _ = verdict("ib.port", nodes(ib, roce))
    assert worst.message == "RoCE at 100 Gb/s, most nodes: InfiniBand at 100 Gb/s"
    assert worst.status is Status.FAIL


def test_port_without_device_files_fails(tree: Callable[..., Raw]) -> None:
    (finding,) = verdict("ib.port", nodes({**tree("roce-x2"), "verbs": 0}))
    assert finding.status is Status.FAIL
    assert finding.remedy is not None
    assert finding.remedy.commands == ("modprobe ib_uverbs",)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("mlx5", 8),
        ("mlx5_0,mlx5_1", 2),
        ("=mlx5_0", 1),
        ("mlx5_0:1", 1),
        ("^mlx5_0", 7),
        ("^=mlx5_0,mlx5_9", 6),
        ("", 8),
    ],
)
def test_port_counts_those_that_nccl_ib_hca_selects(
    tree: Callable[..., Raw], value: str, count: int
) -> None:
    (finding,) = verdict("ib.port", nodes(tree("infiniband-ndr-x8"), job=job(NCCL_IB_HCA=value)))
    assert finding.message.startswith(f"{count} port")
    assert finding.status is Status.PASS


@pytest.mark.parametrize("value", ["ibp0", "=mlx5", "mlx5_0:2"])
def test_port_with_an_nccl_ib_hca_that_selects_nothing_fails(
    tree: Callable[..., Raw], value: str
) -> None:
    (finding,) = verdict("ib.port", nodes(tree("infiniband-ndr-x8"), job=job(NCCL_IB_HCA=value)))
    assert finding.status is Status.FAIL
    assert finding.message.startswith(f"NCCL_IB_HCA={value} selects none of the devices (mlx5_0,")


def test_port_uses_nccl_ib_hca_of_the_login_unless_the_job_sets_it(
    tree: Callable[..., Raw],
) -> None:
    raw = {**tree("infiniband-ndr-x8"), "environment": {"NCCL_IB_HCA": "ibp0"}}
    assert verdict("ib.port", nodes(raw))[0].status is Status.FAIL
    assert verdict("ib.port", nodes(raw, job=job(NCCL_IB_HCA="mlx5")))[0].status is Status.PASS


def test_port_with_nccl_ib_disable_is_skipped(tree: Callable[..., Raw]) -> None:
    where = nodes(tree("infiniband-ndr-x8"), NOTHING, job=job(NCCL_IB_DISABLE="1"))
    assert brief(verdict("ib.port", where)) == [("skip", "node0,node1")]


# Counters


def test_counters_with_many_errors_warn_with_their_values(tree: Callable[..., Raw]) -> None:
    (finding,) = verdict("ib.counters", nodes(tree("infiniband-hdr-ailing")))
    assert finding.status is Status.WARN
    assert finding.message == (
        "many link errors since the driver was loaded: mlx5_1/1 symbol_error 65535 (maximum), "
        "mlx5_1/1 link_downed 14, mlx5_1/1 port_rcv_errors 4294967295 (maximum)"
    )


def test_counters_with_few_errors_pass(tree: Callable[..., Raw]) -> None:
    good = tree("infiniband-ndr-x8")
    few = ports(good, "mlx5_0", counters={"symbol_error": 12, "link_downed": 2})
    assert brief(verdict("ib.counters", nodes(few))) == [("pass", "node0")]
    unreadable = ports(good, "mlx5_0", counters={"symbol_error": 2**64 - 1})
    assert brief(verdict("ib.counters", nodes(unreadable))) == [("pass", "node0")]


# Locked memory


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ({"soft": 65536, "exempt": False}, Status.FAIL),
        ({"soft": 1 << 30, "exempt": False}, Status.WARN),
        ({"soft": 65536, "exempt": True}, Status.PASS),
        (UNLIMITED, Status.PASS),
    ],
)
def test_memlock_is_judged_by_limit_and_capability(
    tree: Callable[..., Raw], limit: Raw, status: Status
) -> None:
    where = nodes(tree("roce-x2"), answers=answered(MEMLOCK, limit))
    (finding,) = verdict("ib.memlock", where)
    assert finding.status is status
    if status is Status.FAIL:
        assert finding.message.startswith("a rank may lock only 0.0625 MiB of memory")
        assert finding.remedy is not None
        (line,) = finding.remedy.commands
        assert line.endswith("> /etc/security/limits.d/90-memlock.conf")


# Addresses of RoCE


def test_gid_reports_the_index_of_roce_v2(tree: Callable[..., Raw]) -> None:
    (finding,) = verdict("ib.gid", nodes(*[tree("roce-x2")] * 2))
    assert (finding.status, finding.message) == (Status.PASS, "RoCE v2 over IPv4 at GID index 3")


@pytest.mark.parametrize(
    ("index", "status", "part"),
    [
        ("3", Status.PASS, "NCCL_IB_GID_INDEX=3 is RoCE v2 on all ports"),
        ("-1", Status.PASS, "RoCE v2 over IPv4 at GID index 3"),
        ("1", Status.FAIL, "that of mlx5_0/1 is a link-local address"),
        ("2", Status.FAIL, "that of mlx5_0/1 is IB/RoCE v1"),
        ("4", Status.FAIL, "mlx5_0/1 has no such GID"),
        ("three", Status.FAIL, "mlx5_0/1 has no such GID"),
    ],
)
def test_gid_judges_nccl_ib_gid_index(
    tree: Callable[..., Raw], index: str, status: Status, part: str
) -> None:
    (finding,) = verdict("ib.gid", nodes(tree("roce-x2"), job=job(NCCL_IB_GID_INDEX=index)))
    assert finding.status is status
    assert part in finding.message
    if status is Status.FAIL:
        assert finding.remedy is not None
        assert finding.remedy.text.startswith("set it to 3 for this node")


def test_gid_with_different_indices_on_nodes_warns(tree: Callable[..., Raw]) -> None:
    good = tree("roce-x2")
    other = deepcopy(good)
    for device in other["devices"]:
        for gid in device["ports"][0]["gids"]:
            gid["index"] += 2
    worst, _ = verdict("ib.gid", nodes(good, other, good))
    assert (worst.status, worst.nodes) == (Status.WARN, ("node1",))
    assert worst.message == "RoCE v2 over IPv4 is at GID index 5, on most nodes at 3"


def test_gid_of_a_port_without_an_address_warns(tree: Callable[..., Raw]) -> None:
    good = tree("roce-x2")
    (port,) = good["devices"][1]["ports"]
    bare = ports(good, "mlx5_1", gids=port["gids"][:2])
    (finding,) = verdict("ib.gid", nodes(bare))
    assert finding.status is Status.WARN
    assert finding.message == "mlx5_1/1 (eth3): no RoCE v2 address of IPv4, but NCCL would use it"


def test_gid_of_infiniband_is_skipped(tree: Callable[..., Raw]) -> None:
    assert brief(verdict("ib.gid", nodes(tree("infiniband-ndr-x8")))) == [("skip", "node0")]


# GPU memory


@pytest.mark.parametrize(
    ("peermem", "open_module", "kernel", "status"),
    [
        (True, False, "5.4.0", Status.PASS),
        (False, True, "6.8.0-45-generic", Status.PASS),
        (False, True, "5.4.0-200-generic", Status.WARN),
        (False, False, "6.8.0-45-generic", Status.WARN),
        (False, True, "garbage", Status.WARN),
    ],
)
def test_gdr_needs_peermem_or_dmabuf(
    tree: Callable[..., Raw], peermem: bool, open_module: bool, kernel: str, status: Status
) -> None:
    gpus = gpu.parse(shapes.text("nvidia-smi/v100-418.xml"))
    smi = {"error": None, "hung": False, "gpus": gpus}
    here = {**NO_GPU, "devices": [0], "open": open_module, "smi": smi}
    raw = {**tree("roce-x2"), "gdr": {"peermem": peermem, "kernel": kernel}}
    (finding,) = verdict("ib.gdr", nodes(raw, answers=answered(GPU, here)))
    assert finding.status is status
    if status is Status.WARN:
        assert finding.remedy is not None
        assert finding.remedy.commands[0] == "modprobe nvidia_peermem"


# EFA

SOFTWARE: Raw = {
    "pci": 4,
    "libfabric": ["/opt/amazon/efa/lib/libfabric.so.1"],
    "plugin": ["/opt/amazon/ofi-nccl/lib/libnccl-net.so"],
}


def efa(raw: list[Raw], software: list[Raw], **environment: str) -> list[Finding]:
    answers = answered(EFA, *software)
    return verdict("efa", nodes(*raw, answers=answers, job=job(**environment)))


def test_efa_with_driver_and_libraries_passes(tree: Callable[..., Raw]) -> None:
    (finding,) = efa([tree("efa-x4")] * 2, [SOFTWARE] * 2)
    assert finding.status is Status.PASS
    assert finding.message == "4 EFA devices, with libfabric and NCCL's plugin"
    (ib,) = verdict("ib.port", nodes(tree("efa-x4")))
    assert ib.status is Status.SKIP  # NCCL uses them only by its plugin


def test_efa_without_driver_fails() -> None:
    (finding,) = efa([NOTHING], [SOFTWARE])
    assert finding.status is Status.FAIL
    assert finding.remedy is not None
    assert finding.remedy.commands == ("modprobe efa",)


def test_efa_with_one_node_not_answering_is_not_skipped_as_a_whole() -> None:
    none = EFA.parse({"pci": 0, "libfabric": [], "plugin": []})
    answers = {"infiniband.efa": [none, none, NoAnswer("no answer within 20 s")]}
    found = verdict("efa", nodes(NOTHING, NOTHING, NOTHING, answers=answers))
    assert brief(found) == [("incomplete", "node2"), ("skip", "node0,node1")]


def test_efa_without_device_files_fails(tree: Callable[..., Raw]) -> None:
    (finding,) = efa([{**tree("efa-x4"), "verbs": 0}], [SOFTWARE])
    assert finding.status is Status.FAIL


def test_efa_plugin_only_on_some_nodes_fails(tree: Callable[..., Raw]) -> None:
    bare = {**SOFTWARE, "plugin": []}
    worst, _ = efa([tree("efa-x4")] * 2, [SOFTWARE, bare])
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node1",))
    (all_by_tcp,) = efa([tree("efa-x4")] * 2, [bare] * 2)
    assert all_by_tcp.status is Status.WARN


def test_efa_with_another_provider_warns(tree: Callable[..., Raw]) -> None:
    (finding,) = efa([tree("efa-x4")], [SOFTWARE], FI_PROVIDER="tcp")
    assert (finding.status, finding.message) == (
        Status.WARN,
        "FI_PROVIDER=tcp: libfabric does not use EFA",
    )


def test_efa_probe_searches_the_library_path_of_the_job() -> None:
    where = nodes(NOTHING, job=job(LD_LIBRARY_PATH="/home/me/lib"))
    (node,) = where.nodes
    assert EFA.arguments(node) == {"folders": "/home/me/lib"}


# Invalid answers

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from([RDMA.parse, MEMLOCK.parse, EFA.parse]), JUNK)
def test_parse_of_junk_raises(parse: Callable[[Any], object], junk: Any) -> None:
    with pytest.raises((ArithmeticError, AttributeError, LookupError, TypeError, ValueError)):
        parse(junk)


@given(st.sampled_from(["state", "phys", "rate", "layer", "counters", "gids", "port"]), JUNK)
def test_parse_of_one_wrong_field_raises_or_is_judged(field: str, junk: Any) -> None:
    port = {
        "port": 1, "state": "4: ACTIVE", "phys": "5: LinkUp", "rate": "100 Gb/sec (4X EDR)",
        "layer": "Ethernet", "lid": "0x0", "counters": {}, "gids": [], field: junk,
    }  # fmt: skip
    device = {"name": "mlx5_0", "driver": "mlx5_core", "interfaces": [], "ports": [port]}
    try:
        where = nodes({**NOTHING, "devices": [device], "verbs": 1})
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return
    for check in ("ib.port", "ib.counters", "ib.gid"):
        assert verdict(check, where)
