"""The RDMA devices of a node, on recorded trees of /sys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probes.infiniband import efa, infiniband, memlock

from ..recorded import shapes
from .conftest import AgentProcess


def test_ports_have_the_kernels_texts(tmp_path: Path) -> None:
    found = infiniband(shapes.tree(tmp_path, "infiniband-ndr-x8"))
    assert len(found["devices"]) == 9
    assert found["verbs"] == 9
    first = found["devices"][0]
    assert (first["name"], first["driver"], first["interfaces"]) == ("mlx5_0", "mlx5_core", ["ib0"])
    (port,) = first["ports"]
    assert port == {
        "port": 1,
        "state": "4: ACTIVE",
        "phys": "5: LinkUp",
        "rate": "400 Gb/sec (4X NDR)",
        "layer": "InfiniBand",
        "counters": dict.fromkeys(
            (
                "symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors",
                "local_link_integrity_errors", "excessive_buffer_overrun_errors",
            ),
            0,
        ),
        "gids": [],
    }  # fmt: skip


def test_roce_port_has_its_gids_in_use(tmp_path: Path) -> None:
    found = infiniband(shapes.tree(tmp_path, "roce-x2"))
    gids = found["devices"][1]["ports"][0]["gids"]
    assert [(gid["index"], gid["type"]) for gid in gids] == [
        (0, "IB/RoCE v1"),
        (1, "RoCE v2"),
        (2, "IB/RoCE v1"),
        (3, "RoCE v2"),
    ]
    assert gids[3]["gid"] == "0000:0000:0000:0000:0000:ffff:c612:030a"
    assert gids[3]["interface"] == "eth3"


def test_infiniband_without_devices_is_empty(tmp_path: Path) -> None:
    found = infiniband(str(tmp_path))
    assert (found["devices"], found["verbs"], found["gdr"]["peermem"]) == ([], 0, False)


def test_infiniband_of_unreadable_files_is_null(tmp_path: Path) -> None:
    port = tmp_path / "sys/class/infiniband/rxe0/ports/1"
    port.mkdir(parents=True)
    (port / "counters").mkdir()
    (port / "counters/symbol_error").write_text("garbage\n")
    (port / "gids").mkdir()
    (port / "link_layer").write_text("Ethernet\n")
    (found,) = infiniband(str(tmp_path))["devices"]
    assert (found["driver"], found["interfaces"]) == (None, [])
    (first,) = found["ports"]
    assert (first["state"], first["counters"], first["gids"]) == (None, {}, [])


@given(st.dictionaries(st.sampled_from(["state", "rate", "link_layer"]), st.binary()))
def test_infiniband_with_garbage_in_sys_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("root")
    port = root / "sys/class/infiniband/mlx5_0/ports/1"
    port.mkdir(parents=True)
    for name, content in files.items():
        (port / name).write_bytes(content)
    assert len(infiniband(str(root))["devices"]) == 1


def test_infiniband_has_variables_of_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_IB_HCA", "mlx5_0")
    monkeypatch.setenv("FI_PROVIDER", "tcp")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    found = infiniband(str(tmp_path))["environment"]
    assert found == {"NCCL_IB_HCA": "mlx5_0", "FI_PROVIDER": "tcp"}


def test_peermem_is_the_loaded_module(tmp_path: Path) -> None:
    assert infiniband(shapes.tree(tmp_path, "h100x2"))["gdr"]["peermem"] is True


@pytest.mark.parametrize(
    ("capabilities", "exempt"), [("000001ffffffffff", True), ("0000000000000000", False)]
)
def test_memlock_with_capability_is_exempt(tmp_path: Path, capabilities: str, exempt: bool) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tpython\nCapEff:\t{capabilities}\n")
    assert memlock(str(tmp_path))["exempt"] is exempt


def test_efa_counts_adapters_and_finds_software(tmp_path: Path) -> None:
    root = shapes.tree(tmp_path, "efa-x4")
    assert efa(root=root) == {
        "pci": 4,
        "libfabric": ["/opt/amazon/efa/lib/libfabric.so.1"],
        "plugin": ["/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu/libnccl-net.so"],
    }
    (tmp_path / "home/me/lib").mkdir(parents=True)
    (tmp_path / "home/me/lib/libnccl-net-ofi.so").touch()
    assert "/home/me/lib/libnccl-net-ofi.so" in efa("/home/me/lib:relative", root)["plugin"]


def test_efa_without_adapters_searches_no_libraries(tmp_path: Path) -> None:
    assert efa(root=str(tmp_path)) == {"pci": 0, "libfabric": [], "plugin": []}


def test_agent_runs_all_rdma_probes(agent: AgentProcess, tmp_path: Path) -> None:
    root = shapes.tree(tmp_path / "root", "infiniband-hdr-ailing", "efa-x4")
    probes = {
        "infiniband": {"root": root},
        "infiniband.memlock": {},
        "infiniband.efa": {"root": root},
    }
    found = agent.ask("check", limit=20, probes=probes)["ok"]
    assert [device["name"] for device in found["infiniband"]["ok"]["devices"]][:2] == [
        "mlx5_0",
        "mlx5_1",
    ]
    assert found["infiniband.efa"]["ok"]["pci"] == 4
    assert set(found["infiniband.memlock"]["ok"]) == {"soft", "exempt"}
