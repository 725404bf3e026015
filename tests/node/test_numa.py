"""NUMA binding: the CPUs near a rank's GPU are those that torch's own functions choose.

The topologies are real ones, recorded by the authors of hwloc for its tests, with GPUs added.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.node.numa import MODES, addresses, cpus_for
from tests.recorded import shapes

RECORDED = [
    "dgx-gb10",
    "opteron-4s8n",
    "opteron-sparse",
    "power9-gpu-memory",
    "xeon-4s4n",
    "xeon-2s2n-smt",
]
Topology = dict[str, Any]
_EXAMPLES = int(os.environ.get("ORCH_FUZZ", "6"))  # each is hundreds of files


def recorded(name: str) -> Topology:
    found: Topology = json.loads(shapes.text(f"numa/{name}.json"))
    return found


def cpus(text: str) -> set[int]:
    ends = [part.split("-") for part in text.split(",") if part]
    return {cpu for end in ends for cpu in range(int(end[0]), int(end[-1]) + 1)}


def address(index: int) -> str:
    return f"0000:{0x1B + 0x10 * index:02x}:00.0"


def build(root: Path, topology: Topology, gpus: Sequence[int], model: str = "NVIDIA H100") -> str:
    """Write /sys, /proc and /dev of a machine with this topology and a GPU on each NUMA node of `gpus`."""

    def put(path: str, content: object) -> None:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{content}\n")

    put("sys/devices/system/node/possible", topology["possible"])
    for node, listed in topology["nodes"].items():
        put(f"sys/devices/system/node/node{node}/cpulist", listed)
    for package, listed in topology["packages"].items():
        for cpu in cpus(listed):
            put(f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", package)
    for listed in topology["cores"]:
        for cpu in cpus(listed):
            put(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", listed)
    for number, (level, kind, listed) in enumerate(topology["caches"]):
        for cpu in cpus(listed):
            folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{number}/"
            put(folder + "level", level)
            put(folder + "type", kind)
            put(folder + "shared_cpu_list", listed)
    for index, node in enumerate(gpus):
        put(f"sys/bus/pci/devices/{address(index)}/numa_node", node)
        put(
            f"proc/driver/nvidia/gpus/{address(index)}/information",
            f"Model: \t\t {model} {index if 'mixed' in model else ''}\nIRQ:   \t\t 250\n"
            f"GPU UUID: \t GPU-{index}d9a\nDevice Minor: \t {index}",
        )
        put(f"dev/nvidia{index}", "")
    return str(root)


def known(topology: Topology) -> set[int]:
    """Return the CPUs of which all was recorded."""
    return {cpu for listed in topology["cores"] for cpu in cpus(listed)}


@contextmanager
def torchs_machine(root: str, gpus: Collection[int], allowed: set[int]) -> Iterator[Any]:
    """Yield torch's module, which sees the machine below `root`."""
    import torch
    from torch.numa import binding

    def below(path: str) -> str:
        return root + path if path.startswith("/sys") else path

    def properties(index: int) -> SimpleNamespace:
        bus = int(address(index).split(":")[1], 16)
        return SimpleNamespace(pci_domain_id=0, pci_bus_id=bus, pci_device_id=0)

    own = SimpleNamespace(
        listdir=lambda path: [each.name for each in Path(below(path)).iterdir()],
        path=os.path,
        sched_getaffinity=lambda pid: set(allowed),
    )
    with (
        mock.patch.object(torch.cuda, "device_count", lambda: len(gpus)),
        mock.patch.object(torch.cuda, "get_device_properties", properties),
        mock.patch.object(binding, "os", own),
        mock.patch.object(
            binding, "open", lambda path, *more: Path(below(path)).open(*more), create=True
        ),
    ):
        yield binding


def torchs(binding: Any, mode: str, gpu: int) -> set[int] | None:
    """Return the CPUs that torch binds to; None where it fails, or would bind to none."""
    options = binding.NumaOptions(affinity_mode=binding.AffinityMode(mode))
    try:
        found: set[int] = binding._get_logical_cpus_to_bind_to(gpu_index=gpu, numa_options=options)
    except (RuntimeError, ValueError, ZeroDivisionError, OSError):
        return None
    return found or None


def orchs(mode: str, gpu: int, allowed: set[int], root: str) -> set[int] | None:
    try:
        return cpus_for(mode, gpu, {}, allowed, root)
    except ValueError as error:
        assert str(error).isprintable()
        return None


@pytest.mark.torch
@pytest.mark.parametrize("name", RECORDED)
def test_cpus_on_recorded_machines_are_torchs(name: str, tmp_path: Path) -> None:
    topology = recorded(name)
    nodes = [int(node) for node, listed in topology["nodes"].items() if listed]
    placed = [*nodes, nodes[0], nodes[-1], nodes[0]]
    root = build(tmp_path, topology, placed)
    everything = known(topology)
    for allowed in (everything, {cpu for cpu in everything if cpu // 4 % 4 < 3}):
        with torchs_machine(root, placed, allowed) as binding:
            for mode in MODES:
                for gpu in range(len(placed)):
                    expected = torchs(binding, mode, gpu)
                    if name == "power9-gpu-memory" and mode == "socket":
                        assert expected is None  # it fails for NUMA nodes that have memory alone
                        expected = torchs(binding, "node", gpu)
                    assert orchs(mode, gpu, allowed, root) == expected, (mode, gpu)
                    assert expected or allowed != everything, (mode, gpu)


TOPOLOGIES = st.builds(
    lambda sockets, nodes, cores, threads, cache: _topology(sockets, nodes, cores, threads, cache),
    *(st.integers(1, n) for n in (2, 2, 3, 2, 3)),
)


def _topology(sockets: int, nodes: int, cores: int, threads: int, cache: int) -> Topology:
    """Return one with `threads` numbered as Linux does: second threads after all first ones."""
    total = sockets * nodes * cores
    numbers = [[core + total * thread for thread in range(threads)] for core in range(total)]
    each = [",".join(map(str, own)) for own in numbers]

    def parts(size: int) -> list[str]:
        return [",".join(each[start : start + size]) for start in range(0, total, size)]

    return {
        "possible": f"0-{sockets * nodes - 1}",
        "nodes": {str(node): listed for node, listed in enumerate(parts(cores))},
        "packages": {str(one): listed for one, listed in enumerate(parts(nodes * cores))},
        "cores": each,
        "caches": [
            *([1, kind, own] for own in each for kind in ("Data", "Instruction")),
            *([3, "Unified", shared] for shared in parts(cache)),
        ],
    }


@pytest.mark.torch
@settings(max_examples=_EXAMPLES)
@given(TOPOLOGIES, st.data())
def test_cpus_on_any_machine_are_torchs(
    tmp_path_factory: pytest.TempPathFactory, topology: Topology, data: st.DataObject
) -> None:
    nodes = sorted(map(int, topology["nodes"]))
    gpus = data.draw(st.lists(st.sampled_from([-1, *nodes]), min_size=1, max_size=4))
    everything = sorted(known(topology))
    allowed = data.draw(st.sets(st.sampled_from(everything)) | st.just(set(everything)))
    folder = tmp_path_factory.mktemp("machine")
    root = build(folder, topology, gpus)
    try:
        with torchs_machine(root, gpus, allowed) as binding:
            for mode in MODES:
                for gpu in range(len(gpus)):
                    expected, found = torchs(binding, mode, gpu), orchs(mode, gpu, allowed, root)
                    # On a node without allowed CPUs torch fails for every GPU of that socket.
                    assert found == expected or (mode == "socket" and expected is None), (mode, gpu)
    finally:
        shutil.rmtree(folder)


def test_cores_are_shared_out_among_the_gpus_of_a_numa_node(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0, 0, 0, 1])
    shares = [cpus_for("exclusive", gpu, {}, range(16), root) for gpu in range(4)]
    assert shares == [{0, 1, 2}, {3, 4, 5}, {6, 7}, set(range(8, 16))]


def test_rank_is_bound_near_the_gpu_that_its_variable_shows(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0, 0, 1, 1])
    for value in ("3,0", "GPU-3d9a,GPU-0", "3,GPU-0d9a"):
        near = [
            cpus_for("node", g, {"CUDA_VISIBLE_DEVICES": value}, range(16), root) for g in (0, 1)
        ]
        assert near == [set(range(8, 16)), set(range(8))]


def test_gpus_that_a_container_was_not_given_do_not_count(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0, 0, 1])
    (tmp_path / "dev/nvidia0").unlink()
    assert addresses({}, root) == [address(1), address(2)]


def test_gpus_of_amd_are_found_by_their_location(tmp_path: Path) -> None:
    build(tmp_path, recorded("xeon-2s2n-smt"), [])
    for index, (simd, location, numa) in enumerate([(0, 0, 0), (440, 0xC100, 1), (440, 0x8300, 0)]):
        place = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{index}/properties"
        place.parent.mkdir(parents=True)
        minor = 127 + index
        place.write_text(
            f"simd_count {simd}\ndomain 0\nlocation_id {location}\ndrm_render_minor {minor}\n"
        )
        device = tmp_path / f"sys/bus/pci/devices/0000:{location >> 8:02x}:00.0/numa_node"
        device.parent.mkdir(parents=True)
        device.write_text(f"{numa}\n")
        (tmp_path / "dev/dri").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"dev/dri/renderD{minor}").touch()
    root = str(tmp_path)
    assert addresses({}, root) == ["0000:c1:00.0", "0000:83:00.0"]
    assert addresses({"ROCR_VISIBLE_DEVICES": "1"}, root) == ["0000:83:00.0"]
    assert cpus_for("node", 0, {}, range(16), root) == set(range(8, 16))


@pytest.mark.parametrize(
    ("environment", "gpus", "model", "reason"),
    [
        ({}, [], "", "there is no GPU for ranks to be bound near"),
        ({"CUDA_VISIBLE_DEVICES": ""}, [0], "NVIDIA H100", "there is no GPU"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-17ab"}, [0], "NVIDIA A100", "'MIG-17ab' is not known"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ff"}, [0], "NVIDIA A100", "'GPU-ff' is not known"),
        ({}, [0, 1], "mixed", "set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
        ({}, [7], "NVIDIA H100", "no CPU of NUMA node 7 may be used here"),
    ],
)
def test_binding_that_is_impossible_or_uncertain_has_a_reason(
    environment: dict[str, str], gpus: list[int], model: str, reason: str, tmp_path: Path
) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), gpus, model)
    with pytest.raises(ValueError, match=reason):
        cpus_for("node", 0, environment, range(16), root)


def test_gpus_of_different_models_are_certain_in_pci_order(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0, 1], "mixed")
    for environment in (
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        {"CUDA_VISIBLE_DEVICES": "GPU-0d9a,GPU-1d9a"},
    ):
        assert addresses(environment, root) == [address(0), address(1)]


def test_rank_without_a_gpu_of_its_own_is_refused(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0])
    with pytest.raises(
        ValueError, match="local rank 1 has no GPU to be bound near: 1 of this node"
    ):
        cpus_for("node", 1, {}, range(16), root)


def test_exclusive_binding_without_a_core_for_each_gpu_is_refused(tmp_path: Path) -> None:
    root = build(tmp_path, recorded("xeon-2s2n-smt"), [0] * 3)
    with pytest.raises(ValueError, match="NUMA node 0 has 2 cores that may be used, and 3 GPUs"):
        cpus_for("exclusive", 0, {}, {0, 1}, root)
