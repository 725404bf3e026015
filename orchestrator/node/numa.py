"""The CPUs near the GPU of a rank, as torchrun's --numa-binding chooses them.

The source is `torch.numa.binding` of torch 2.13. Only CPUs are bound, as `numactl --physcpubind` does:
memory then comes from the NUMA node of the CPU that first writes to it. torchrun needs numactl for that;
here the kernel is asked. Where torch fails, for NUMA nodes that have memory and no CPU, this does not.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Set

from .probes import read
from .visible import VisibleGpus

MODES = ("node", "socket", "exclusive", "core-complex")

_NVIDIA = "/proc/driver/nvidia/gpus"
_KFD = "/sys/class/kfd/kfd/topology/nodes"
_CPU = "/sys/devices/system/cpu/cpu{:d}/"
_NODES = "/sys/devices/system/node"
_MAX_CPUS = 1 << 16
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?\Z")
_INDEX = re.compile(r"index[0-9]{1,3}\Z")


def cpus_for(
    mode: str,
    gpu: int,
    environment: Mapping[str, str],
    allowed: Iterable[int],
    root: str = "/",
) -> Set[int]:
    """Return the CPUs for a rank: those of `allowed` that `mode` binds the ranks of GPU `gpu` to.

    `gpu` is its number among the GPUs that a process in `environment` sees, the local rank. Raises
    ValueError with the reason if there is no such GPU, or no CPU.
    """
    return _Machine(environment, frozenset(allowed), root).cpus(mode, gpu)


class _Machine:
    """The CPUs of this node that may be used, and the NUMA nodes of its visible GPUs."""

    def __init__(self, environment: Mapping[str, str], allowed: FrozenSet[int], root: str) -> None:
        self._root = root
        self._allowed = allowed
        self._node_of = [self._numa_node(address) for address in addresses(environment, root)]

    def cpus(self, mode: str, gpu: int) -> Set[int]:
        """Return the CPUs that `mode` gives to `gpu`. Raises ValueError if there are none."""
        if gpu >= len(self._node_of):
            raise ValueError(
                "local rank {:d} has no GPU to be bound near: {:d} of this node are visible".format(
                    gpu, len(self._node_of)
                )
            )
        node = self._node_of[gpu]
        near = self._cpus_of(node)
        if mode == "socket":
            near = self._socket(node, near)
        elif mode in ("exclusive", "core-complex"):
            sharing = [index for index, other in enumerate(self._node_of) if other == node]
            place = sharing.index(gpu)
            if mode == "exclusive":
                near = self._exclusive(near, place, len(sharing), node)
            else:
                near = self._core_complex(near, place)
        if not near:
            raise ValueError("no CPU of NUMA node {:d} may be used here".format(node))
        return near

    def _numa_node(self, address: str) -> int:
        text = read.required(self._root, "/sys/bus/pci/devices/{}/numa_node".format(address))
        return max(int(text), 0)  # -1 if there is only one

    def _cpus_of(self, node: int) -> Set[int]:
        listed = read.text(self._root, "{}/node{:d}/cpulist".format(_NODES, node))
        return set(_numbers(listed or "")) & self._allowed

    def _socket(self, node: int, near: Set[int]) -> Set[int]:
        """Return the CPUs of all NUMA nodes on the socket of `node`; one without CPUs is on none."""
        if not near:
            return near
        own = self._package(min(near))
        found: Set[int] = set()
        for other in _numbers(read.required(self._root, _NODES + "/possible")):
            cpus = self._cpus_of(other)
            if cpus and self._package(min(cpus)) == own:
                found |= cpus
        return found

    def _package(self, cpu: int) -> str:
        return read.required(self._root, _CPU.format(cpu) + "topology/physical_package_id")

    def _exclusive(self, near: Set[int], place: int, gpus: int, node: int) -> Set[int]:
        """Return the share of the GPU at `place`: cores are divided evenly, the first ones get one more."""
        cores = _grouped(near, self._first_on_core)
        each, more = divmod(len(cores), gpus)
        if each < 1:
            raise ValueError(
                "NUMA node {:d} has {:d} cores that may be used, and {:d} GPUs: exclusive binding needs a "
                "core for each".format(node, len(cores), gpus)
            )
        start = place * each + min(place, more)
        chosen = [cores[core] for core in sorted(cores)][start : start + each + (place < more)]
        return {cpu for core in chosen for cpu in core}

    def _core_complex(self, near: Set[int], place: int) -> Set[int]:
        """Return the CPUs of one cache of the last level, the one with most first."""
        caches = _grouped(near, self._first_on_last_cache)
        order = sorted(caches, key=lambda first: (-len(caches[first]), first))
        return caches[order[place % len(order)]] if order else set()

    def _first_on_core(self, cpu: int) -> int:
        """Return the first of the threads of the core of `cpu`."""
        path = _CPU.format(cpu) + "topology/thread_siblings_list"
        return min(_numbers(read.required(self._root, path)))

    def _first_on_last_cache(self, cpu: int) -> int:
        """Return the first of the CPUs that share the last-level cache of `cpu`."""
        folder = _CPU.format(cpu) + "cache"
        levels: Dict[int, str] = {}
        for name in read.names(self._root, folder):
            place = "{}/{}/".format(folder, name)
            if _INDEX.match(name) and read.text(self._root, place + "type") in ("Unified", "Data"):
                levels[int(read.required(self._root, place + "level"))] = place
        if not levels:
            raise ValueError("{} shows no cache".format(folder))
        return min(_numbers(read.required(self._root, levels[max(levels)] + "shared_cpu_list")))


def _grouped(cpus: Set[int], key: Callable[[int], int]) -> Dict[int, Set[int]]:
    groups: Dict[int, Set[int]] = {}
    for cpu in cpus:
        groups.setdefault(key(cpu), set()).add(cpu)
    return groups


def addresses(environment: Mapping[str, str], root: str = "/") -> List[str]:
    """Return the PCI addresses of the GPUs that a process in `environment` sees, in its order.

    Raises ValueError if there are none, or it is not certain which they are.
    """
    gpus = _nvidia(root)
    amd = [] if gpus else _amd(root)
    names = VisibleGpus(environment, len(gpus or amd), bool(amd)).names
    if not names:
        raise ValueError("there is no GPU for ranks to be bound near")
    if amd:
        return [_found(amd, name).address for name in names]
    models = sorted({gpu.model for gpu in gpus})
    by_index = any(name.isdigit() for name in names)
    if len(models) > 1 and by_index and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise ValueError(
            "CUDA numbers GPUs of different models ({}) by speed, so it is not known which is whose: set "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID".format(", ".join(models))
        )
    return [_found(gpus, name).address for name in names]


class _Gpu(NamedTuple):
    address: str
    uuid: str = ""
    model: str = ""


def _found(gpus: List[_Gpu], name: str) -> _Gpu:
    """Return the GPU with this index, or whose UUID starts with this."""
    if name.isdigit():
        return gpus[int(name)]
    found = [gpu for gpu in gpus if name.startswith("GPU-") and gpu.uuid.startswith(name)]
    if len(found) != 1:
        raise ValueError("the PCI address of {!r:.60} is not known".format(name))
    return found[0]


def _nvidia(root: str) -> List[_Gpu]:
    """Return NVIDIA's GPUs that this container was given, as CUDA numbers them by PCI address."""
    found = []
    for address in read.names(root, _NVIDIA):
        rows = (
            line.partition(":")
            for line in read.lines(root, _NVIDIA + "/" + address + "/information")
        )
        known = {key.strip(): value.strip() for key, _, value in rows}
        if "nvidia" + known.get("Device Minor", "") in read.names(root, "/dev"):
            found.append(_Gpu(address.lower(), known.get("GPU UUID", ""), known.get("Model", "")))
    return found


def _amd(root: str) -> List[_Gpu]:
    """Return AMD's GPUs that this container was given, in the order of its compute driver."""
    found = []
    for node in sorted(filter(str.isdigit, read.names(root, _KFD)), key=int):
        known = read.counts(root, "{}/{}/properties".format(_KFD, node))
        device = "renderD{:d}".format(known.get("drm_render_minor", 0))
        if known.get("simd_count", 0) > 0 and device in read.names(root, "/dev/dri"):
            place = known.get("location_id", 0)
            bus = "{:04x}:{:02x}".format(known.get("domain", 0), place >> 8 & 0xFF)
            found.append(_Gpu("{}:{:02x}.{:x}".format(bus, place >> 3 & 0x1F, place & 7)))
    return found


def _numbers(text: str) -> List[int]:
    """Return the numbers in `0-2,5`, as sysfs writes sets of CPUs. Raises ValueError for anything else."""
    found: List[int] = []
    for part in filter(None, text.split(",")):
        match = _RANGE.match(part.strip())
        if match is None or int(match.group(2) or 0) > _MAX_CPUS:
            raise ValueError("not a set of CPUs: {!r:.60}".format(text))
        found += range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1)
    return found
