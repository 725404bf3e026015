"""Verdicts on disk space, shared folders, limits, memory and clocks."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.limits import clock, limits, storage
from orchestrator.preflight.limits.sharing import Sharing
from orchestrator.preflight.model import Finding, NoAnswer, Probe, Script, Status

from ..contexts import answered, brief, make_context

MIB, GIB = 1 << 20, 1 << 30

CHECKS = {check.id: check for check in limits.CHECKS}


def judged(check: str, probe: Probe[Any], *raw: Any, **more: Any) -> list[Finding]:
    """Return the findings of a check on nodes with these answers; the data must be JSON."""
    found = judge_check(
        CHECKS[check], make_context(len(raw), answers=answered(probe, *raw), **more)
    )
    json.dumps([dict(finding.data) for finding in found])
    return list(found)


# -- shm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"size": 16 * GIB, "free": 15 * GIB}, Status.PASS),
        ({"size": 64 * MIB, "free": 64 * MIB}, Status.FAIL),
        ({"size": 16 * GIB, "free": 100 * MIB}, Status.WARN),
        (None, Status.FAIL),
    ],
)
def test_shared_memory_must_be_large_and_free(raw: Any, status: Status) -> None:
    (found,) = judged("shm", limits.SHM, raw)
    assert found.status is status
    assert (found.remedy is None) == (status is Status.PASS)


def test_small_shared_memory_is_one_finding_with_the_line_to_paste() -> None:
    small = {"size": 64 * MIB, "free": 60 * MIB}
    found = judged("shm", limits.SHM, small, {"size": GIB, "free": GIB}, {**small, "free": 1})
    assert brief(found) == [("fail", "node0,node2"), ("pass", "node1")]
    assert found[0].remedy is not None
    assert found[0].remedy.commands == ("mount -o remount,size=16g /dev/shm",)


# -- limits ----------------------------------------------------------------------------------------


def login(**more: Any) -> dict[str, Any]:
    usual = {"user": "ubuntu", "files": [1024, 524288], "processes": [95000, 95000]}
    return {**usual, "most_files": 1 << 20, **more}


USER = {0: {"uid": 1000}}


def test_low_soft_limit_of_files_passes_and_low_hard_limit_warns() -> None:
    assert brief(judged("limits", limits.LIMITS, login(), facts_of=USER)) == [("pass", "node0")]
    assert brief(judged("limits", limits.LIMITS, login(files=[None, None]))) == [("pass", "node0")]
    (found,) = judged("limits", limits.LIMITS, login(files=[1024, 4096]), facts_of=USER)
    assert found.status is Status.WARN
    assert "may have at most 4096 open files" in found.message
    assert found.remedy is not None
    (command,) = found.remedy.commands
    assert command == (
        "printf '%s\\n' 'ubuntu soft nofile 65536' 'ubuntu hard nofile 524288' "
        "> /etc/security/limits.d/90-orch.conf"
    )


def test_limit_to_paste_is_at_most_the_kernels() -> None:
    (found,) = judged("limits", limits.LIMITS, login(files=[1024, 4096], most_files=50000))
    assert found.remedy is not None
    assert "hard nofile 50000" in found.remedy.commands[0]
    assert "soft nofile 50000" in found.remedy.commands[0]


def test_low_limit_of_processes_warns_unless_root() -> None:
    few = login(processes=[4096, 95000])
    (found,) = judged("limits", limits.LIMITS, few, facts_of=USER)
    assert "4096 processes and threads" in found.message
    assert brief(judged("limits", limits.LIMITS, few)) == [("pass", "node0")]


# -- memory ----------------------------------------------------------------------------------------


def room(available: float, group: Any = None) -> dict[str, Any]:
    return {"total": 64 * GIB, "available": int(available * GIB), "group": group}


def group(path: str, limit: float, used: float) -> dict[str, Any]:
    return {"path": path, "limit": int(limit * GIB), "used": int(used * GIB)}


def test_memory_is_compared_with_the_ranks_of_the_node() -> None:
    assert brief(judged("memory", limits.MEMORY, room(4), host_of={0: {"devices": 4}})) == [
        ("pass", "node0")
    ]
    (found,) = judged("memory", limits.MEMORY, room(3.9), host_of={0: {"devices": 4}})
    assert found.status is Status.WARN
    assert "3.9 GiB of memory left for 4 ranks" in found.message


def test_tight_control_group_is_reported_with_its_unit() -> None:
    tight = group("/user.slice/user-1000.slice", 8, 2)
    (found,) = judged("memory", limits.MEMORY, room(48, tight))
    assert found.status is Status.WARN
    assert "/user.slice/user-1000.slice has 6.0 GiB left" in found.message
    assert found.remedy is not None
    assert found.remedy.commands == ("systemctl set-property user-1000.slice MemoryMax=infinity",)


def test_control_group_without_unit_has_no_line_to_paste() -> None:
    (found,) = judged("memory", limits.MEMORY, room(48, group("/", 8, 2)))
    assert found.remedy is not None
    assert found.remedy.commands == ()
    hostile = group("/a/;reboot #.slice", 8, 2)
    (found,) = judged("memory", limits.MEMORY, room(48, hostile))
    assert found.remedy is not None
    assert found.remedy.commands == ()


def test_wide_control_group_passes_and_a_hidden_one_is_mentioned() -> None:
    assert brief(judged("memory", limits.MEMORY, room(48, group("/", 64, 10)))) == [
        ("pass", "node0")
    ]
    (found,) = judged("memory", limits.MEMORY, room(48, "hidden"))
    assert found.status is Status.PASS
    assert "control groups are hidden" in found.message


def test_memory_without_numbers_is_refused() -> None:
    with pytest.raises(TypeError):
        limits.MEMORY.parse({"total": None, "available": None, "group": None})


# -- disk ------------------------------------------------------------------------------------------


def places(**workdir: Any) -> list[dict[str, Any]]:
    usual = {
        "at": "/data", "mount": "/data", "size": 100 * GIB, "free": 50 * GIB, "files": 1000000,
        "free_files": 900000, "problem": None, "noexec": False,
    }  # fmt: skip
    return [
        {**usual, "role": "workdir", "path": "/data/job", **workdir},
        {**usual, "role": "state", "path": "/home/u/.local/state/orch"},
        {**usual, "role": "tmp", "path": "/tmp"},
    ]


SYNCED = Script(Path("train.py"), "", Path())
THERE = Script(Path("train.py"), "", None)  # with --no-sync


@pytest.mark.parametrize(
    ("workdir", "status", "words"),
    [
        ({}, Status.PASS, "space for files"),
        ({"free": 15 * MIB}, Status.FAIL, "/data/job (on /data) has only 15 MiB left"),
        ({"free": 255 * MIB}, Status.WARN, "/data/job (on /data) has only 255 MiB left"),
        ({"free": 2 * GIB}, Status.WARN, "has 2.0 GiB left of 100 GiB"),
        ({"free": 2 * GIB, "size": 4 * GIB}, Status.PASS, "space"),
        ({"free": 6 * GIB, "size": 1000 * GIB}, Status.PASS, "space"),
        ({"free_files": 0}, Status.FAIL, "no more files"),
        ({"free_files": 12}, Status.WARN, "only 12 more files"),
        ({"free_files": 0, "files": 0}, Status.PASS, "space"),
        (
            {"problem": {"errno": errno.EDQUOT, "text": "Disk quota exceeded"}},
            Status.FAIL,
            "cannot be written: Disk quota exceeded",
        ),
        (
            {"problem": {"errno": errno.EROFS, "text": "Read-only file system"}},
            Status.FAIL,
            "cannot be written: Read-only file system",
        ),
    ],
)
def test_disk_by_free_bytes_inodes_and_write_errors(
    workdir: dict[str, Any], status: Status, words: str
) -> None:
    (found,) = judged("disk", storage.DISK, places(**workdir), script=SYNCED)
    assert found.status is status
    assert words in found.message


@pytest.mark.parametrize(("launcher", "expected"), [("torchrun", "fail"), ("direct", "pass")])
def test_orchs_folder_mounted_noexec_fails_if_a_launcher_starts_the_ranks(
    launcher: str, expected: str
) -> None:
    raw = [{**place, "noexec": place["role"] == "state"} for place in places()]
    (found,) = judged("disk", storage.DISK, raw, launcher=launcher)
    assert found.status.value == expected
    if expected == "fail":
        assert "is mounted noexec, and torchrun runs a program of orch's there" in found.message
        assert found.remedy is not None
        assert found.remedy.text.startswith("use --launcher direct")
        assert found.remedy.commands == ("mount -o remount,exec /data",)


READ_ONLY = {"problem": {"errno": errno.EROFS, "text": "Read-only file system"}}
FULL = {"free": 0}


@pytest.mark.parametrize("trouble", [READ_ONLY, FULL, {"free_files": 0}])
def test_full_folder_in_which_orch_need_not_write_warns(trouble: dict[str, Any]) -> None:
    for script, statuses in ((SYNCED, ["fail", "fail", "warn"]), (THERE, ["fail", "warn", "warn"])):
        raw = [{**place, **trouble} for place in places()]
        found = judged("disk", storage.DISK, raw, script=script)
        assert [finding.status.value for finding in found] == statuses


def test_workdir_that_only_root_can_make_has_a_line_to_paste() -> None:
    denied = places(problem={"errno": errno.EACCES, "text": "Permission denied"})
    host = {0: {"workdir": "/data/my job"}}
    (found,) = judged("disk", storage.DISK, denied, facts_of=USER, host_of=host, script=SYNCED)
    assert found.remedy is not None
    assert found.remedy.commands == ("install -d -o 1000 '/data/my job'",)
    existing = places(at="/data/job", problem={"errno": errno.EACCES, "text": "Permission denied"})
    (found,) = judged("disk", storage.DISK, existing, facts_of=USER)
    assert found.remedy is not None
    assert found.remedy.commands == ()


def test_each_full_folder_of_a_node_is_reported() -> None:
    raw = places(free=MIB)
    raw[1]["free"] = MIB
    found = judged("disk", storage.DISK, raw, places(), script=SYNCED)
    assert brief(found) == [("fail", "node0"), ("fail", "node0"), ("pass", "node1")]


# -- shared, user ----------------------------------------------------------------------------------

Views = Mapping[str, set[str] | NoAnswer]


def sharing(check: str, views: Views, **more: Any) -> list[Finding]:
    seen = {n: v if isinstance(v, NoAnswer) else frozenset(v) for n, v in views.items()}
    found = judge_check(
        CHECKS[check], make_context(len(views), measured={Sharing: Sharing(seen)}, **more)
    )
    return list(found)


OWN: Views = {f"node{i}": {f"node{i}"} for i in range(3)}
ONE: Views = {f"node{i}": {"node0", "node1", "node2"} for i in range(3)}
SOME: Views = {"node0": {"node0", "node2"}, "node1": {"node1"}, "node2": {"node0", "node2"}}


def test_own_folders_and_one_shared_folder_pass() -> None:
    for views in (OWN, ONE):
        assert brief(sharing("shared", views)) == [("pass", "node0,node1,node2")]


def test_folder_shared_by_some_nodes_warns() -> None:
    assert brief(sharing("shared", SOME)) == [("warn", "node0,node2")]


def test_stale_view_of_a_shared_folder_fails() -> None:
    stale = {**ONE, "node1": {"node1", "node2"}}
    (found,) = sharing("shared", stale)
    assert (found.status, found.nodes) == (Status.FAIL, ("node1",))
    assert "does not see what node0 wrote" in found.message
    (found,) = sharing("shared", {**OWN, "node1": set()})
    assert "does not see what it writes itself" in found.message


def test_node_that_cannot_mark_its_folder_is_incomplete() -> None:
    found = sharing("shared", {**OWN, "node1": NoAnswer("Permission denied")})
    assert brief(found) == [("incomplete", "node1")]


def test_shared_with_one_node_is_skipped() -> None:
    assert brief(sharing("shared", {"node0": {"node0"}})) == [("skip", "node0")]


def test_other_user_id_fails_with_a_shared_folder_and_warns_without() -> None:
    other = {2: {"uid": 1001}}
    assert brief(sharing("user", ONE)) == [("pass", "node0,node1,node2")]
    (found,) = sharing("user", ONE, facts_of=other)
    assert (found.status, found.nodes) == (Status.FAIL, ("node2",))
    assert "user id 1001, but shares its working folder with user id 0" in found.message
    assert brief(sharing("user", OWN, facts_of=other)) == [("warn", "node2")]


# -- clock -----------------------------------------------------------------------------------------

CHRONY = {"systemd": True, "programs": ["chronyc"], "services": ["chronyd"]}
TIMESYNCD = {"systemd": True, "programs": ["timedatectl"], "services": ["systemd-timesyncd"]}
CONTAINER: dict[str, Any] = {"systemd": False, "programs": ["apt-get"], "services": []}


def clocks(*skews: float, tools: Any = CHRONY, doubt: float = 0.0) -> list[Finding]:
    facts = {i: {"clock_skew": skew, "clock_error": doubt} for i, skew in enumerate(skews)}
    return judged("clock", clock.CLOCK, *(tools for _ in skews), facts_of=facts)


def test_clocks_that_agree_pass() -> None:
    (found,) = clocks(0.1, -0.1, 0.3)
    assert (found.status, found.message) == (Status.PASS, "agree on the time within 0.5 s")


@pytest.mark.parametrize(
    ("skew", "status"), [(0.8, "warn"), (-5, "warn"), (31, "fail"), (-90, "fail")]
)
def test_clock_off_the_median_is_reported(skew: float, status: str) -> None:
    (found,) = clocks(0.0, skew, 0.0)
    assert (found.status.value, found.nodes) == (status, ("node1",))
    way = "ahead of" if skew > 0 else "behind"
    assert f"{abs(skew):.1f} s {way} the others" in found.message


def test_clock_of_two_nodes_is_decided_by_the_controller() -> None:
    assert brief(clocks(40.0, 0.0)) == [("fail", "node0")]
    assert brief(clocks(0.0, 40.0)) == [("fail", "node1")]


def test_wrong_clock_of_the_controller_is_mentioned_and_passes() -> None:
    (found,) = clocks(100.0, 100.1)
    assert found.status is Status.PASS
    assert "this machine's own clock is 100.0 s behind theirs" in found.message
    assert brief(clocks(100.0)) == [("pass", "node0")]


def test_clock_within_the_uncertainty_of_a_slow_answer_passes() -> None:
    (found,) = clocks(0.0, 1.0, 0.0, doubt=0.8)
    assert (found.status, found.message) == (Status.PASS, "agree on the time within 1.8 s")
    assert brief(clocks(0.0, 2.0, 0.0, doubt=0.8)) == [("warn", "node1")]
    assert brief(clocks(0.0, 0.0, 0.0, doubt=31)) == [("incomplete", "node0,node1,node2")]


@pytest.mark.parametrize(
    ("tools", "last"),
    [
        (CHRONY, "chronyc makestep"),
        (TIMESYNCD, "systemctl restart systemd-timesyncd"),
        ({**TIMESYNCD, "services": ["ntp"]}, "systemctl restart ntp"),
        ({"systemd": True, "programs": ["dnf"], "services": []}, "chronyc makestep"),
        ({"systemd": True, "programs": [], "services": []}, None),
        (CONTAINER, None),
    ],
)
def test_clock_remedy_uses_the_installed_tools(tools: Any, last: str | None) -> None:
    (found,) = clocks(0.0, 60.0, 0.0, tools=tools)
    assert found.remedy is not None
    assert (found.remedy.commands[-1] if found.remedy.commands else None) == last
