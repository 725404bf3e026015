"""The identity of a host, its logins, its clock and processes of other jobs, from recorded files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.node.probes import command, host, login, orphans, read

Tree = Callable[[dict[str, str]], str]

GPU = "GPU-6c1c4e2a-5f5e-2a63-8f4a-0123456789ab"
INFORMATION = f"""\
Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 210
GPU UUID: \t {GPU}
Video BIOS: \t 96.00.74.00.01
Bus Location: \t 0000:19:00.0
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a new root; return the root."""

    def write(files: dict[str, str]) -> str:
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    return write


def test_identity_is_read_from_kernel_and_machine(tree: Tree) -> None:
    root = tree(
        {
            "/etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
            "/proc/sys/kernel/random/boot_id": "c8636990-44b1-456e-9419-cda115b3059c\n",
            "/sys/class/net/eth0/address": "02:fc:00:00:00:01\n",
            "/proc/driver/nvidia/gpus/0000:19:00.0/information": INFORMATION,
        }
    )
    assert host.identity("eth0", root=root) == {
        "machine": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "boot": "c8636990-44b1-456e-9419-cda115b3059c",
        "mac": "02:fc:00:00:00:01",
        "gpus": [GPU],
    }


def test_identity_in_a_container_that_hides_all_is_null(tree: Tree) -> None:
    root = tree({"/etc/machine-id": ""})
    nothing: dict[str, object] = {"machine": None, "boot": None, "mac": None, "gpus": []}
    assert host.identity("eth0", root=root) == nothing
    assert host.identity(root=root) == nothing


def test_identity_of_idle_gpu_has_no_uuid(tree: Tree) -> None:
    hidden = INFORMATION.replace(GPU, "GPU-????????-????-????-????-????????????")
    root = tree({"/proc/driver/nvidia/gpus/0000:19:00.0/information": hidden})
    assert host.identity(root=root)["gpus"] == []


@pytest.mark.parametrize(
    ("visible", "login", "seen"),
    [
        (None, None, "0123"),
        ("2,0", None, "02"),
        (None, "3", "3"),
        ("1", "3", "1"),
        ("", None, ""),
        ("9", None, ""),
        ("GPU-2b,GPU-3b", None, "23"),
        ("MIG-17ab", None, ""),
    ],
)
def test_gpus_that_the_job_does_not_see_do_not_identify_a_node(
    visible: str | None,
    login: str | None,
    seen: str,
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if login is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", login)
    uuids = [f"GPU-{index}b{GPU[6:]}" for index in range(4)]
    root = tree(
        {
            f"/proc/driver/nvidia/gpus/0000:{index}9:00.0/information": f"GPU UUID: \t {uuid}"
            for index, uuid in enumerate(uuids)
        }
    )
    found = host.identity(visible=visible, root=root)["gpus"]
    assert found == [uuids[int(index)] for index in seen]


# -- what prints at a login ------------------------------------------------------------------------


def test_startup_finds_the_line_with_most_common_words(tree: Tree) -> None:
    root = tree(
        {
            "/home/u/.bashrc": '# Welcome: updates\nexport A=1\necho "Welcome to $(hostname): 2 updates"\n',
            "/etc/profile.d/motd.sh": "echo Welcome\n",
        }
    )
    found = login.startup(["Welcome to node1: 2 updates", "§§"], root, "/home/u")
    assert found == [
        {
            "path": "/home/u/.bashrc",
            "number": 3,
            "line": 'echo "Welcome to $(hostname): 2 updates"',
        },
        None,
    ]


def test_startup_without_files_is_null(tmp_path: Path) -> None:
    assert login.startup(["Welcome"], str(tmp_path), "/home/u") == [None]


# -- logind ----------------------------------------------------------------------------------------

SHIPPED = """\
# Entries in this file show the compile time defaults.
[Login]
#KillUserProcesses={}
#KillExcludeUsers=root
"""
SESSION = "0::/user.slice/user-1000.slice/session-5.scope\n"


def test_linger_reads_the_default_in_a_shipped_file(tree: Tree) -> None:
    root = tree(
        {
            "/etc/systemd/logind.conf": SHIPPED.format("no"),
            "/run/systemd/system/x": "",
            "/proc/self/cgroup": SESSION,
            "/var/lib/systemd/linger/ubuntu": "",
        }
    )
    assert login.linger(root, "ubuntu") == {
        "systemd": True, "session": True, "user": "ubuntu", "kill": False, "only": [],
        "exclude": ["root"], "linger": True,
    }  # fmt: skip
    tree({"/etc/systemd/logind.conf": SHIPPED.format("yes")})
    assert login.linger(root, "ubuntu")["kill"] is True


def test_linger_drop_in_in_etc_overrides_those_of_its_name(tree: Tree) -> None:
    root = tree(
        {
            "/usr/lib/systemd/logind.conf": SHIPPED.format("no"),
            "/usr/lib/systemd/logind.conf.d/10-a.conf": "[Login]\nKillUserProcesses=yes\n",
            "/usr/lib/systemd/logind.conf.d/20-b.conf": "[Login]\nKillUserProcesses=no\n",
            "/etc/systemd/logind.conf.d/20-b.conf": "#KillUserProcesses=no\nKillExcludeUsers=a b\n",
            "/etc/systemd/logind.conf.d/30-c.conf": "KillExcludeUsers=c\nKillOnlyUsers=d\n",
            "/etc/systemd/logind.conf.d/readme": "KillUserProcesses=no\n",
        }
    )
    found = login.linger(root, "ubuntu")
    assert (found["kill"], found["exclude"], found["only"]) == (True, ["a", "b", "c"], ["d"])


def test_linger_with_empty_exclude_list_excludes_no_one(tree: Tree) -> None:
    root = tree({"/etc/systemd/logind.conf": "[Login]\nKillUserProcesses=1\nKillExcludeUsers=\n"})
    assert login.linger(root, "root")["exclude"] == []


@pytest.mark.parametrize(
    ("cgroup", "session"),
    [
        (SESSION, True),
        ("9:name=systemd:/user.slice/user-0.slice/session-c12.scope\n4:memory:/user.slice\n", True),
        ("0::/system.slice/ssh.service\n", False),
        ("0::/\n", False),
    ],
)
def test_linger_knows_the_scope_of_a_session(tree: Tree, cgroup: str, session: bool) -> None:
    assert login.linger(tree({"/proc/self/cgroup": cgroup}), "ubuntu")["session"] is session


def test_linger_without_systemd_is_null(tmp_path: Path) -> None:
    found = login.linger(str(tmp_path), "ubuntu")
    assert (found["systemd"], found["session"], found["kill"]) == (False, False, None)


# -- processes of other jobs -----------------------------------------------------------------------


def process(
    pid: int, parent: int, command: str, environ: str = "", session: int = 7, state: str = "S"
) -> dict[str, str]:
    fields = f"{state} {parent} {pid} {session} 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 100000 0"
    return {
        f"/proc/{pid}/stat": f"{pid} (a) b) {fields}\n",
        f"/proc/{pid}/cmdline": command.replace(" ", "\0") + "\0",
        f"/proc/{pid}/environ": environ.replace(" ", "\0"),
        f"/proc/{pid}/comm": command.split()[0][:15] + "\n",
    }


RANKED = "RANK=0 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500"


def test_orphans_list_one_process_per_family(tree: Tree) -> None:
    root = tree(
        {
            "/proc/uptime": "5000.0 1.0\n",
            **process(1, 0, "init"),
            **process(50, 1, "python train.py", RANKED + " ORCH_RUN=calm-fox"),
            **process(51, 50, "python worker", RANKED),
            **process(52, 51, "python worker", RANKED),
            **process(60, 1, "zombie", RANKED, state="Z"),
            **process(70, 1, "mine", RANKED, session=99),
            **process(80, 1, "shell", "RANK=3"),
        }
    )
    found = orphans.orphans(root, session=99)
    (one,) = found["processes"]
    assert {key: one[key] for key in ("pid", "command", "run", "address", "port", "gpu")} == {
        "pid": 50, "command": "python train.py", "run": "calm-fox", "address": "10.0.0.1",
        "port": "29500", "gpu": False,
    }  # fmt: skip
    assert one["age"] == 5000 - 100000 / os.sysconf("SC_CLK_TCK")
    assert one["owner"] == read.user(os.getuid())


def test_orphans_have_gpu_users_but_no_driver_services(tree: Tree) -> None:
    root = tree(
        {**process(50, 1, "python infer.py"), **process(51, 1, "nvidia-persistenced --verbose")}
    )
    for pid in (50, 51):
        descriptors = Path(root, "proc", str(pid), "fd")
        descriptors.mkdir()
        (descriptors / "0").symlink_to("/dev/nvidiactl")
        (descriptors / "5").symlink_to("/dev/nvidia3")
    (one,) = orphans.orphans(root, session=99)["processes"]
    assert (one["pid"], one["gpu"], one["run"]) == (50, True, None)


def test_orphans_are_bounded(tree: Tree) -> None:
    many = {k: v for pid in range(100, 140) for k, v in process(pid, 1, "p", RANKED).items()}
    found = orphans.orphans(tree(many), session=99)
    assert len(found["processes"]) == 16


def test_orphans_find_a_real_process() -> None:
    environment = {"RANK": "0", "MASTER_PORT": "29511", "MASTER_ADDR": "127.0.0.1"}
    wait = subprocess.Popen(
        [sys.executable, "-S", "-c", "print(flush=True); input()"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert wait.stdout is not None
        wait.stdout.readline()  # once it prints, its environment is complete
        found = {each["pid"]: each for each in orphans.orphans()["processes"]}
        assert found[wait.pid]["port"] == "29511"
        assert 0 <= found[wait.pid]["age"] < 60
    finally:
        wait.communicate(b"\n", timeout=20)


# -- the clock -------------------------------------------------------------------------------------


def test_clock_finds_time_services(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(
        {
            "/run/systemd/system/x": "",
            "/usr/lib/systemd/system/chronyd.service": "",
            "/etc/systemd/system/systemd-timesyncd.service": "",
            "/usr/bin/chronyc": "#!/bin/sh\n",
        }
    )
    (tmp_path / "usr/bin/chronyc").chmod(0o755)
    (tmp_path / "etc/systemd/system/ntp.service").symlink_to("/dev/null")  # masked
    monkeypatch.setattr(command, "_EXTRA_PATH", ())  # without those of this machine
    monkeypatch.setenv("PATH", str(tmp_path / "usr/bin"))
    assert host.clock(root) == {
        "systemd": True,
        "programs": ["chronyc"],
        "services": ["chronyd", "systemd-timesyncd"],
    }
    monkeypatch.setenv("PATH", "/nowhere")
    assert host.clock(str(tmp_path / "nowhere")) == {
        "systemd": False, "programs": [], "services": [],
    }  # fmt: skip
