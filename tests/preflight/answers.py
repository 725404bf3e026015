"""Raw answers of nodes to each probe: sound ones, and ones for which checks have remedies."""

from __future__ import annotations

from typing import Any

_GPU: dict[str, Any] = {
    "bus": "00000000:65:00.0",
    "minor": 0,
    "name": "NVIDIA H100",
    "uuid": "GPU-1",
    "memory": 81559,
    "used": 0,
    "mig": False,
    "volatile": 0,
    "aggregate": 0,
    "flags": {"remap pending": "No", "recovery": "None"},
    "fabric": {"state": None, "status": None, "health": None},
    "sick": None,
    "processes": [],
}
_GPUS: dict[str, Any] = {
    "devices": [0],
    "pci": [{"address": "0000:65:00.0", "driver": "nvidia"}],
    "switches": 0,
    "version": "550.54.15",
    "open": True,
    "visible": None,
    "amd": 0,
    "smi": {"error": None, "hung": False, "gpus": [_GPU]},
}
_ON_IT = {"pid": 4711, "name": "/usr/bin/python train.py", "used": 2000, "owner": "ann"}
_INTERFACE: dict[str, Any] = {
    "name": "eth0",
    "addresses": ["198.18.0.10/24"],
    "mtu": 1500,
    "speed": 10000,
    "duplex": "full",
    "driver": "mlx5_core",
    "device": True,
    "running": True,
    "roce": [],
    "arp_ignore": 0,
    "arp_announce": 0,
}
_PORT: dict[str, Any] = {
    "port": 1,
    "state": "4: ACTIVE",
    "phys": "5: LinkUp",
    "rate": "400 Gb/sec (4X NDR)",
    "layer": "InfiniBand",
    "counters": {"symbol_error": 0},
    "gids": [],
}
_ROCE = {
    **_PORT,
    "layer": "Ethernet",
    "gids": [{"index": 3, "gid": "0000:0000:0000:0000:0000:ffff:c612:000a", "type": "RoCE v2"}],
}
_RDMA: dict[str, Any] = {
    "devices": [
        {"name": "mlx5_0", "driver": "mlx5_core", "interfaces": ["ib0"], "ports": [_PORT]},
    ],
    "verbs": 1,
    "environment": {},
    "gdr": {"peermem": True, "kernel": "6.8.0"},
}
_ROOM: dict[str, Any] = {
    "role": "workdir",
    "path": "/root/orch/train",
    "at": "/root",
    "mount": "/",
    "size": 1 << 40,
    "free": 1 << 39,
    "files": 1 << 20,
    "free_files": 1 << 19,
    "problem": None,
    "noexec": False,
}
_SOFTWARE: dict[str, Any] = {
    "kernel": "6.8.0",
    "driver": "550.54.15",
    "interpreter": {
        "executable": "/opt/venv/bin/python",
        "python": "3.11.7",
        "torch": {"version": "2.6.0+cu124", "cuda": "12.4", "hip": None},
        "distributions": {"nvidia-nccl-cu12": "2.21.5", "lightning": "2.5.0"},
        "pip": True,
        "ensurepip": True,
        "managed": False,
        "elsewhere": [],
        "missing": [],
    },
    "broken": None,
}
_NAME = {"addresses": ["198.18.0.10"], "error": None}
_PROCESS = {
    "pid": 4711,
    "age": 100.0,
    "owner": "ann",
    "command": "python train.py",
    "run": "calm-fox",
    "address": "198.18.0.10",
    "port": "29500",
    "gpu": True,
}


def _software(**more: Any) -> dict[str, Any]:
    return {**_SOFTWARE, "interpreter": {**_SOFTWARE["interpreter"], **more}}


def _gpus(**more: Any) -> dict[str, Any]:
    return {**_GPUS, "smi": {"error": None, "hung": False, "gpus": [{**_GPU, **more}]}}


SOUND: dict[str, Any] = {
    "host.identity": {"machine": None, "boot": None, "mac": None, "gpus": []},
    "login.linger": {
        "systemd": True, "session": True, "user": "ann", "kill": False, "only": [], "exclude": ["root"],
        "linger": False,
    },
    "orphans": {"processes": [], "count": 0},
    "limits.shm": {"size": 1 << 34, "free": 1 << 34},
    "limits": {
        "user": "ann", "files": [1024, 1 << 20], "processes": [None, None], "core": [0, None],
        "most_files": 1 << 20,
    },
    "memory": {"total": 1 << 38, "available": 1 << 37, "group": None},
    "storage.disk": [_ROOM],
    "locks": [],
    "host.clock": {"systemd": True, "programs": ["chronyc"], "services": ["chrony"]},
    "interfaces": [_INTERFACE],
    "neighbours": {"soft": 512, "room": 1024, "entries": 12, "fulls": 0},
    "firewall.port_range": [32768, 60999],
    "gpu": _GPUS,
    "fabric.nvlink": {"error": None, "gpus": [{"gpu": 0, "active": 18, "inactive": [], "errors": {}}]},
    "fabric": {
        "manager": "/usr/bin/nv-fabricmanager", "version": "550.54.15", "active": "active",
        "package": "nvidia-fabricmanager-550",
    },
    "kernel_log.xids": {"source": "kmsg", "why": None, "whole": True, "events": []},
    "infiniband": _RDMA,
    "infiniband.memlock": {"soft": None, "exempt": False},
    "infiniband.efa": {"pci": 0, "libfabric": [], "plugin": []},
    "software": _SOFTWARE,
    "software.start": {
        "torch": {"version": "2.6.0", "nccl": "2.21.5", "cuda": True, "why": None}, "code": 0,
        "seconds": 3.0, "error": "",
    },
    "login.variables": {"NCCL_DEBUG": "INFO"},
    "code": {"files": {"train.py": "d18f5f7510e27081"}, "cut": False},
    "names.own_name": {"hostname": "node0", "addresses": ["198.18.0.10"], "error": None},
    "names.resolve": {"node0": _NAME, "node1": _NAME, "node2": _NAME},
    "limits.somaxconn": 4096,
}  # fmt: skip
"""One answer to each probe, for which no check fails."""

ALARMING: dict[str, tuple[Any, ...]] = {
    "host.identity": (
        {"machine": "1", "boot": "1", "mac": "02:00:00:00:00:01", "gpus": ["GPU-1"]},
    ),
    "login.linger": ({**SOUND["login.linger"], "kill": True},),
    "orphans": (
        {"processes": [_PROCESS], "count": 1},
        {"processes": [{**_PROCESS, "port": "1"}], "count": 1},
    ),
    "limits.shm": ({"size": 1 << 26, "free": 1 << 26}, {"size": 1 << 34, "free": 1 << 20}),
    "limits": (
        {**SOUND["limits"], "files": [1024, 4096], "processes": [1024, 1024]},
    ),
    "memory": (
        {
            "total": 1 << 38,
            "available": 1 << 37,
            "group": {"path": "/user.slice/user-0.slice", "limit": 1 << 30, "used": 1 << 29},
        },
        {"total": 1 << 38, "available": 1, "group": "hidden"},
    ),
    "storage.disk": (
        [{**_ROOM, "problem": {"errno": 13, "text": "Permission denied"}}],
        [{**_ROOM, "problem": {"errno": 28, "text": "No space left on device"}}],
        [{**_ROOM, "free": 1 << 20, "mount": "/data"}],
        [{**_ROOM, "free_files": 10}],
        [{**_ROOM, "role": "state", "noexec": True}],
    ),
    "locks": ([{"path": "/root/.cache/torch_extensions/py311/adam/lock", "age": 90.0}],),
    "interfaces": (
        [{**_INTERFACE, "mtu": 9000, "duplex": "half"}],
        [{**_INTERFACE, "mtu": 9000, "speed": 1000}],
        [_INTERFACE, {**_INTERFACE, "name": "eth1.7", "addresses": ["198.18.0.99/24"]}],
    ),
    "firewall.port_range": ([50000, 50100], [40000, 60999]),
    "neighbours": (
        {"soft": 1, "room": 1, "entries": 1, "fulls": 17},
        {"soft": 2, "room": 3, "entries": 2, "fulls": 0},
        {"soft": 1, "room": 1024, "entries": None, "fulls": None},
    ),
    "gpu": (
        _gpus(mig=True),
        _gpus(volatile=3),
        _gpus(flags={"remap pending": "Yes", "recovery": "GPU Reset"}),
        _gpus(flags={"sram threshold": "Yes", "remap failure": "Yes"}),
        _gpus(sick="Unable to determine the device handle"),
        _gpus(processes=[_ON_IT], used=2000),
        _gpus(fabric={"state": "In Progress", "status": "N/A", "health": "Unhealthy"}),
        {**_GPUS, "devices": [0, 1]},
        {**_GPUS, "switches": 4, "version": "550.90"},
        {**_GPUS, "devices": [0], "smi": {"error": "could not communicate with the NVIDIA driver",
                                          "hung": False, "gpus": []}},
        {**_GPUS, "devices": [], "pci": [{"address": "0000:65:00.0", "driver": None}], "smi": None},
    ),
    "fabric.nvlink": (
        {"error": None, "gpus": [{"gpu": 0, "active": 2, "inactive": [3], "errors": {}}]},
        {"error": None, "gpus": [{"gpu": 0, "active": 18, "inactive": [], "errors": {"CRC": 3}}]},
        {"error": "nvidia-smi did not answer", "gpus": []},
    ),
    "fabric": (
        {**SOUND["fabric"], "version": "535.1", "active": "failed"},
    ),
    "kernel_log.xids": tuple(
        {
            "source": "kmsg", "why": None, "whole": True,
            "events": [
                {"kind": "Xid", "code": code, "bus": "0000:65:00", "count": 2, "age": 30.0,
                 "text": "GPU has fallen off the bus", "pid": 17, "name": "python"}
            ],
        }
        for code in (48, 63, 79, 999)
    ),
    "infiniband": (
        {**_RDMA, "verbs": 0},
        {**_RDMA, "devices": []},
        {**_RDMA, "environment": {"NCCL_IB_HCA": "mlx5_9", "NCCL_IB_GID_INDEX": "0"}},
        {**_RDMA, "gdr": {"peermem": False, "kernel": "5.4.0"}},
        {**_RDMA, "devices": [{**_RDMA["devices"][0], "ports": [{**_PORT, "state": "2: INIT"}]}]},
        {**_RDMA, "devices": [{**_RDMA["devices"][0], "ports": [_ROCE]}],
         "environment": {"NCCL_IB_GID_INDEX": "3"}},
        {**_RDMA, "devices": [{**_RDMA["devices"][0], "driver": "efa"}]},
        {**_RDMA, "devices": [{**_RDMA["devices"][0],
                               "ports": [{**_PORT, "counters": {"symbol_error": 65535}}]}]},
    ),
    "infiniband.memlock": ({"soft": 65536, "exempt": False},),
    "infiniband.efa": ({"pci": 4, "libfabric": ["/opt/amazon/efa/lib/libfabric.so"], "plugin": []},),
    "software": (
        _software(torch={"version": "2.5.0+cu124", "cuda": "12.4", "hip": None}),
        _software(distributions={"nvidia-nccl-cu12": "2.20", "lightning": "2.4.0"}),
        _software(torch=None, pip=False, missing=["yaml", "torch"]),
        _software(torch=None, managed=True, ensurepip=False, missing=["yaml"]),
        _software(torch=None, elsewhere=["/home/ann/venv/bin/python"]),
        _software(python="3.10.1"),
        {**_SOFTWARE, "interpreter": None, "broken": "ModuleNotFoundError: No module named 'encodings'"},
    ),
    "software.start": (
        {"torch": None, "code": 1, "seconds": 3.0, "error": "No module named 'torch'"},
        {**SOUND["software.start"], "code": 1, "error": "No module named 'yaml'"},
        {**SOUND["software.start"], "code": 1, "error": "No module named 'click'"},
        {**SOUND["software.start"], "code": 1, "error": "it broke"},
        {
            **SOUND["software.start"],
            "torch": {**SOUND["software.start"]["torch"], "cuda": False, "why": "too old"},
        },
    ),
    "login.variables": (
        {"NCCL_DEBUGG": "INFO", "GLOO_SOCKET_IFNAME": "eth7", "NCCL_IB_DISABLE": "1",
         "PET_NNODES": "2", "NCCL_TIMEOUT": "1"},
        {"GLOO_SOCKET_IFNAME": "198.18.0.10"},
    ),
    "code": ({"files": {"train.py": "0000", "more.py": "1"}, "cut": True}, None),
    "names.own_name": (
        {"hostname": "node0", "addresses": ["127.0.1.1"], "error": None},
        {"hostname": "node0", "addresses": [], "error": "Name or service not known"},
    ),
    "names.resolve": (
        {"node0": {"addresses": ["198.18.0.77"], "error": None}},
        {name: {"addresses": [], "error": "not known"} for name in ("node0", "node1", "node2")},
    ),
    "limits.somaxconn": (1,),
}  # fmt: skip
"""Answers for which checks warn or fail, most with commands to paste."""
