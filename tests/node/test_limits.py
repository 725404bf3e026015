"""The disk space, limits and memory of a node."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node.probes import limits, memory, mounts, storage

from .conftest import AgentProcess

GIB = 1 << 30
MEMINFO = """\
MemTotal:       67108864 kB
MemFree:               1 kB
MemAvailable:   50331648 kB
HugePages_Total:       0
"""


def test_shm_without_folder_is_none(tmp_path: Path) -> None:
    found = limits.shm(str(tmp_path))
    assert found is not None
    assert 0 < found["free"] <= found["size"]
    assert limits.shm(str(tmp_path / "none")) is None


def test_limits_are_those_of_this_process(tmp_path: Path) -> None:
    found = json.loads(json.dumps(limits.limits(str(tmp_path))))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found["files"] == [None if n == resource.RLIM_INFINITY else n for n in (soft, hard)]
    assert found["most_files"] == 1 << 20  # the kernel's default, if it is unreadable


def test_somaxconn_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/net/core").mkdir(parents=True)
    (tmp_path / "proc/sys/net/core/somaxconn").write_text("128\n")
    assert limits.somaxconn(str(tmp_path)) == 128
    with pytest.raises(ValueError, match="cannot be read"):
        limits.somaxconn(str(tmp_path / "elsewhere"))


# -- disk ------------------------------------------------------------------------------------------


def test_disk_of_missing_folder_is_that_of_its_parent(tmp_path: Path) -> None:
    found = storage.disk(str(tmp_path / "a" / "b"))
    assert [room["role"] for room in found] == ["workdir", "state", "tmp"]
    workdir = found[0]
    assert (workdir["path"], workdir["at"]) == (str(tmp_path / "a" / "b"), str(tmp_path))
    assert workdir["problem"] is None
    assert 0 < workdir["free"] <= workdir["size"]
    assert list(tmp_path.iterdir()) == []


def test_disk_below_a_file_has_the_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problem = storage.disk(str(tmp_path / "file" / "work"))[0]["problem"]
    assert problem == {"errno": errno.ENOTDIR, "text": "Not a directory"}


def test_disk_that_cannot_be_written_has_the_errno() -> None:
    found = storage.disk("/proc/sys/work")[0]
    assert found["problem"]["errno"] in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_disk_without_nameless_files_is_written_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, "no")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert storage.disk(str(tmp_path))[0]["problem"] is None
    assert list(tmp_path.iterdir()) == []


def test_disk_over_quota_has_the_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "write", write)
    problem = storage.disk(str(tmp_path))[0]["problem"]
    assert problem == {"errno": errno.EDQUOT, "text": os.strerror(errno.EDQUOT)}


def test_mount_is_the_longest_prefix_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n"
        "23 22 0:5 / /data rw - nfs4 server:/data rw\n"
        "25 22 0:7 / /my\\040data rw - xfs /dev/sdb rw\n"
        "garbage\n"
    )
    found = mounts.mounts(str(tmp_path))

    def point(path: str) -> str | None:
        mount = mounts.mount_of(path, found)
        return mount and mount.point

    assert point("/data/job") == "/data"
    assert point("/database") == "/"
    assert point("/my data") == "/my data"


# -- memory ----------------------------------------------------------------------------------------

V2 = "35 24 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "35 24 0:29 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "36 35 0:30 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def recorded(root: Path, files: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of the probe for these files."""
    for name, text in {"/proc/meminfo": MEMINFO, **files}.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    found = memory.memory(str(root))
    assert (found["total"], found["available"]) == (64 * GIB, 48 * GIB)
    return found


def test_memory_group_is_the_tightest_parent(tmp_path: Path) -> None:
    groups = "/sys/fs/cgroup/user.slice"
    found = recorded(
        tmp_path,
        {
            "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-3.scope\n",
            "/proc/self/mountinfo": V2,
            f"{groups}/user-1000.slice/session-3.scope/memory.max": "max\n",
            f"{groups}/user-1000.slice/session-3.scope/memory.current": "1\n",
            f"{groups}/user-1000.slice/memory.max": f"{4 * GIB}\n",
            f"{groups}/user-1000.slice/memory.current": f"{3 * GIB}\n",
            f"{groups}/user-1000.slice/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            f"{groups}/memory.max": f"{8 * GIB}\n",
            f"{groups}/memory.current": "0\n",
        },
    )
    assert found["group"] == {
        "path": "/user.slice/user-1000.slice", "limit": 4 * GIB, "used": 2 * GIB,
    }  # fmt: skip


def test_memory_group_of_a_container_is_its_root(tmp_path: Path) -> None:
    found = recorded(
        tmp_path,
        {
            "/proc/self/cgroup": "0::/../../outside\n",
            "/proc/self/mountinfo": V2,
            "/sys/fs/cgroup/memory.max": 2 * GIB,
            "/sys/fs/cgroup/memory.current": GIB,
        },
    )
    assert found["group"] == {"path": "/", "limit": 2 * GIB, "used": GIB}


def test_memory_group_version_1_is_read_from_a_partial_mount(tmp_path: Path) -> None:
    found = recorded(
        tmp_path,
        {
            "/proc/self/cgroup": "9:name=systemd:/docker/abc\n4:memory,hugetlb:/docker/abc\n0::/\n",
            "/proc/self/mountinfo": V1.format(top="/docker/abc"),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": 3 * GIB,
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": 2 * GIB,
            "/sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}\n",
        },
    )
    assert found["group"] == {"path": "/", "limit": 3 * GIB, "used": GIB}


def test_memory_group_version_1_without_limit_is_null(tmp_path: Path) -> None:
    files = {
        "/proc/self/cgroup": "4:memory:/\n",
        "/proc/self/mountinfo": V1.format(top="/"),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": GIB,
    }
    assert recorded(tmp_path, files)["group"] is None


def test_invisible_memory_groups_are_hidden(tmp_path: Path) -> None:
    assert recorded(tmp_path, {})["group"] == "hidden"
    mounted = {"/proc/self/cgroup": "0::/a\n", "/proc/self/mountinfo": V2}
    assert recorded(tmp_path, mounted)["group"] == "hidden"


def test_memory_without_proc_is_null(tmp_path: Path) -> None:
    assert memory.memory(str(tmp_path)) == {"total": None, "available": None, "group": "hidden"}


def test_agent_runs_all_host_probes(agent: AgentProcess) -> None:
    probes: dict[str, dict[str, Any]] = {
        "host.identity": {"interface": "lo"}, "login.startup": {"noise": ["x"]}, "login.linger": {},
        "orphans": {}, "limits.shm": {}, "limits": {}, "memory": {},
        "storage.disk": {"workdir": "/tmp"}, "host.clock": {},
    }  # fmt: skip
    answer = agent.ask("check", limit=20, probes=probes)["ok"]
    assert {name: list(value) for name, value in answer.items()} == {n: ["ok"] for n in probes}
