"""The lab itself: hosts are separate, traps work, nothing leaks to the machine or is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from labkit import life, processes
from labkit.cli import main
from labkit.lab import Lab, LabError

pytestmark = pytest.mark.lab

Argv = list[str | Path]
MakeLab = Callable[..., Lab]
SCRIPT = Path(__file__).parents[2] / "scripts" / "lab"


def ssh(lab: Lab, node: str, command: str) -> subprocess.CompletedProcess[str]:
    return lab.run(["ssh", "-F", lab.dir / "ssh_config", node, command])


def machine_links() -> str:
    return subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout


def cli(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, SCRIPT, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def connect(lab: Lab, address: str, port: int, *, node: str = "ctl") -> str:
    """Try to connect; return `connected` or the error's name."""
    code = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4)\n"
        "except OSError as error: print(type(error).__name__)\n"
        "else: print('connected')\n"
    )
    return lab.run([sys.executable, "-c", code, address, str(port)], node=node).stdout.strip()


# Hosts.


def test_every_host_accepts_logins_with_a_known_key(lab3: Lab) -> None:
    for node in lab3.nodes:
        for name in (node, lab3.address(node)):
            done = ssh(lab3, name, "hostname; pwd")
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{node}\n/root\n", "")


def test_host_with_another_key_is_refused(lab3: Lab) -> None:
    known = lab3.run(["ssh-keyscan", "-t", "ed25519", "node0"]).stdout.replace("node0", "node1")
    file = lab3.home / "swapped"
    file.write_text(known)
    argv: Argv = ["ssh", "-F", lab3.dir / "ssh_config", "-o", f"UserKnownHostsFile={file}", "node1"]
    done = lab3.run([*argv, "true"])
    assert done.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_host_sees_only_its_own_processes(lab3: Lab) -> None:
    argv, pipe = ["sh", "-c", "echo ready; read line", "marked"], subprocess.PIPE
    with lab3.popen(argv, node="node0", stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        seen = [lab3.run(["ps", "-e", "-o", "args="], node=node).stdout for node in lab3.nodes]
        assert [text.count("marked") for text in seen] == [1, 0, 0]
        known = {process.pid: process.argv for process in lab3.processes("node0")}
        assert known[process.pid] == argv
        assert lab3.pid("node0") in known
        process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_process_1_reaps_orphans(lab3: Lab) -> None:
    orphan = lab3.run(["sh", "-c", "sleep 0.1 & echo $!"], node="node0").stdout.strip()
    code = f"import os, time\nwhile os.path.exists('/proc/{orphan}'): time.sleep(0.01)"
    assert lab3.run([sys.executable, "-c", code], node="node0", timeout=30).returncode == 0


@pytest.mark.parametrize("place", ["/root", "/tmp", "/var/tmp", "/run", "/dev/shm"])
def test_files_of_a_host_are_private(lab3: Lab, place: str) -> None:
    lab3.run(["touch", f"{place}/mark"], node="node0").check_returncode()
    there = [lab3.run(["test", "-e", f"{place}/mark"], node=n).returncode for n in lab3.nodes]
    assert there == [0, 1, 1]
    assert not Path(place, "mark").exists()


def test_files_that_hosts_share_cannot_be_written(lab3: Lab) -> None:
    for place in ("/usr", "/var", "/home", sys.prefix):
        done = lab3.run(["touch", f"{place}/mark"], node="node0")
        assert "Read-only file system" in done.stderr


def test_this_python_runs_on_a_host(lab3: Lab) -> None:
    code = "import sys, pytest; print(sys.prefix)"
    assert ssh(lab3, "node2", f'{sys.executable} -c "{code}"').stdout.strip() == sys.prefix


def test_host_allocates_a_terminal(lab3: Lab) -> None:
    argv: Argv = ["ssh", "-tt", "-F", lab3.dir / "ssh_config", "node0", "tty"]
    assert lab3.run(argv).stdout.startswith("/dev/pts/")


def test_host_survives_death_and_restart_of_sshd(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    before = lab.sshd_pid("node0")
    lab.run(["kill", "-KILL", before], node="node0").check_returncode()
    deadline = time.monotonic() + 10
    while lab.state("node0") != "up, without sshd":
        assert time.monotonic() < deadline
    assert connect(lab, lab.address("node0"), 22) == "ConnectionRefusedError"
    lab.restart_sshd("node0")
    assert ssh(lab, "node0", "hostname").stdout == "node0\n"
    second = lab.sshd_pid("node0")
    lab.restart_sshd("node0")
    assert lab.sshd_pid("node0") not in (before, second)
    assert ssh(lab, "node0", "hostname").stdout == "node0\n"


# The command line and the interface for tests.


def test_signal_reaches_the_command_itself(lab3: Lab) -> None:
    for node in ("ctl", "node1"):
        trap = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
        with lab3.popen(["sh", "-c", trap], node=node, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == b"caught\n"
        assert process.returncode == 5


def test_bytes_pass_through_run_unchanged(lab3: Lab) -> None:
    sent = bytes(range(256)) + b"\r\n"
    done = lab3.run(["cat"], node="node0", input=sent)
    assert done.stdout.encode(errors="surrogateescape") == sent


def test_controller_does_not_inherit_the_environment(
    lab3: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/elsewhere")
    done = lab3.run(["sh", "-c", "echo $HOME; echo $SSH_AUTH_SOCK; echo $MORE; pwd"],
                    env={"MORE": "more"}, cwd=tmp_path)  # fmt: skip
    assert done.stdout.split("\n") == [str(lab3.home), "", "more", str(tmp_path), ""]


def test_thread_can_enter_the_network_of_the_lab(lab3: Lab) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with lab3.inside(), socket.create_connection((lab3.address("node1"), 22), timeout=10) as wire:
        assert wire.recv(8) == b"SSH-2.0-"
        assert wire.getsockname()[0] == lab3.address("ctl")
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_exec_gives_output_and_exit_code(lab3: Lab) -> None:
    done = cli("exec", "--name", lab3.name, "node1", "--", "sh", "-c", "hostname; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("node1\n", "", 7)


def test_exec_on_an_unknown_node_lists_the_nodes(lab3: Lab) -> None:
    done = cli("exec", "--name", lab3.name, "node7", "--", "true")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("has no node node7: it has ctl, node0, node1, node2")


def test_up_exec_status_down(tmp_path: Path) -> None:
    name = f"test-{os.getpid()}-cli"
    ruleset = tmp_path / "drop.nft"
    ruleset.write_text("table inet quirks {}\n")
    options = ["--trap", "node1:noisy-bashrc", "--nft", f"node1={ruleset}"]
    try:
        up = cli("up", "2", "--name", name, *options)
        assert up.returncode == 0, up.stderr
        assert up.stdout.splitlines()[1] == f"inventory: /tmp/orch-lab-{name}/hosts.yaml"
        status = cli("status").stdout
        assert f"{name}  /tmp/orch-lab-{name}\n" in status
        assert "  node1   198.18.0.11   up\n" in status
        again = cli("up", "2", "--name", name)
        assert (again.returncode, again.stderr.count("\n")) == (2, 1)
        lab = life.find(name)
        assert "updates" in ssh(lab, "node1", "true").stdout
        assert ssh(lab, "node0", "true").stdout == ""
        rules = [lab.run(["nft", "list", "ruleset"], node=node).stdout for node in lab.nodes]
        assert [bool(text) for text in rules] == [False, True]
    finally:
        assert cli("down", "--name", name).returncode == 0
    assert name not in cli("status").stdout


def test_exec_passes_signals_on(lab3: Lab) -> None:
    trap = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    argv: Argv = [
        sys.executable,
        SCRIPT,
        "exec",
        "--name",
        lab3.name,
        "node1",
        "--",
        "sh",
        "-c",
        trap,
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.stdout.read() == b"caught\n"
    assert process.returncode == 5


def test_without_root_the_lab_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["up", "3"]) == 2
    said = "lab: the lab needs root: it creates network, mount and PID namespaces\n"
    assert capsys.readouterr().err == said


def test_missing_tools_are_reported_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    gone = ("nft", "sshd")
    monkeypatch.setattr(
        shutil, "which", lambda tool, **o: None if tool in gone else which(tool, **o)
    )
    expected = "the lab needs nft, sshd: apt-get install --yes nftables openssh-server"
    assert life.missing() == expected


# Isolation.


def test_lab_network_is_isolated(lab3: Lab) -> None:
    for node in ("ctl", *lab3.nodes):
        assert lab3.run(["ip", "route", "show", "default"], node=node).stdout == ""
        assert lab3.run(["ip", "-6", "route", "show", "default"], node=node).stdout == ""
        assert connect(lab3, "203.0.113.1", 22, node=node) == "OSError"


def test_interfaces_of_the_machine_are_unchanged(make_lab: MakeLab) -> None:
    before = machine_links()
    lab = make_lab(2, second_net=True, decoy=True)
    assert machine_links() == before
    life.down(lab.name)
    assert machine_links() == before


def test_labs_are_isolated_from_each_other(make_lab: MakeLab) -> None:
    one, other = make_lab(2), make_lab(1)
    assert one.address("node0") == other.address("node0")
    ssh(one, "node0", "touch mark")
    assert ssh(other, "node0", "ls").stdout == ""
    assert connect(other, one.address("node1"), 22) != "connected"


# Traps.


def test_without_traps_all_names_resolve_everywhere(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    for place in ("ctl", *lab.nodes):
        for name in ("ctl", *lab.nodes):
            found = lab.run(["getent", "ahostsv4", name], node=place).stdout.split()[0]
            assert found == lab.address(name)
    assert lab.run(["cat", "/etc/hostname"], node="node1").stdout == "node1\n"


def test_own_name_loopback(lab3: Lab) -> None:
    for node in lab3.nodes:
        code = "import socket; print(socket.gethostbyname(socket.gethostname()))"
        assert lab3.run([sys.executable, "-c", code], node=node).stdout == "127.0.1.1\n"
    assert lab3.run(["getent", "hosts", "node1"], node="node0").returncode == 2


def test_decoy(lab3: Lab) -> None:
    for node in lab3.nodes:
        shown = lab3.run(["ip", "-o", "address", "show", "docker0"], node=node).stdout
        assert "172.17.0.1/16" in shown
    assert connect(lab3, "172.17.0.1", 22, node="node0") == "connected"


def test_second_net(make_lab: MakeLab) -> None:
    lab = make_lab(3, second_net=["node0", "node1"])
    assert connect(lab, "198.19.0.11", 22, node="node0") == "connected"
    assert connect(lab, "198.19.0.11", 22, node="node2") == "OSError"
    assert connect(lab, "198.19.0.11", 22) == "OSError"
    names = lab.run(["ls", "/sys/class/net"], node="node0").stdout.split()
    assert names == ["eth0", "eth1", "lo"]


def test_nft(make_lab: MakeLab) -> None:
    drop = """table inet filter {
        chain input {
            type filter hook input priority 0; policy drop;
            iif lo accept
            ct state established,related accept
            tcp dport 22 accept
        }
    }"""
    lab = make_lab(2, nft={"node1": drop})
    code = (
        "import socket; s = socket.create_server(('', 29500)); print('ready', flush=True); input()"
    )
    for node, expected in (("node0", "connected"), ("node1", "TimeoutError")):
        pipe = subprocess.PIPE
        argv = [sys.executable, "-c", code]
        with lab.popen(argv, node=node, stdin=pipe, stdout=pipe) as server:
            assert server.stdin is not None and server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            assert connect(lab, lab.address(node), 29500) == expected
            assert connect(lab, lab.address(node), 22) == "connected"
            server.stdin.write(b"\n")


def test_noisy_bashrc(make_lab: MakeLab) -> None:
    done = ssh(make_lab(1, noisy_bashrc=True), "node0", "echo mine")
    assert done.stdout.splitlines() == ["Welcome to node0: 2 updates can be applied", "mine"]
    assert "ioctl" in done.stderr


def test_no_rsync(make_lab: MakeLab) -> None:
    lab = make_lab(2, no_rsync=["node1"])
    found = [ssh(lab, node, "command -v rsync; rsync --version") for node in lab.nodes]
    assert found[0].stdout.startswith("/usr/bin/rsync\n")
    assert (found[1].returncode, found[1].stdout) == (127, "")


def test_shared_home(make_lab: MakeLab) -> None:
    lab = make_lab(2, shared_home=True)
    ssh(lab, "node0", "echo seen > mark").check_returncode()
    assert ssh(lab, "node1", "cat mark").stdout == "seen\n"
    assert lab.run(["test", "-e", "/tmp/mark"], node="node1").returncode == 1


# Vanished hosts and `down`.


def test_vanished_host_does_not_answer(make_lab: MakeLab) -> None:
    lab = make_lab(3, second_net=True)
    argv: Argv = ["ssh", "-F", lab.dir / "ssh_config", "node1", "echo in; sleep 60"]
    with lab.popen(argv, stdout=subprocess.PIPE) as login:
        assert login.stdout is not None
        assert login.stdout.readline() == b"in\n"
        lab.vanish("node1")
        assert lab.processes("node1") == []
        ways = [("ctl", "198.18.0.11"), ("node0", "198.18.0.11"), ("node0", "198.19.0.11")]
        with ThreadPoolExecutor() as pool:
            heard = pool.map(lambda way: connect(lab, way[1], 22, node=way[0]), ways)
        assert list(heard) == ["TimeoutError"] * 3
        assert login.poll() is None, "the open connection hears nothing either"
        login.kill()
    assert ssh(lab, "node2", "hostname").stdout == "node2\n"
    with pytest.raises(LabError, match=r"node1 of lab .* has vanished"):
        lab.run(["true"], node="node1")


def test_down_leaves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(2, second_net=True, decoy=True, no_rsync=True, shared_home=True)
    argv = ["setsid", "sh", "-c", "trap '' TERM HUP; echo ready; read line"]
    pipe = subprocess.PIPE
    with (
        lab.popen(argv, node="ctl", stdin=pipe, stdout=pipe) as one,
        lab.popen(argv, node="node1", stdin=pipe, stdout=pipe) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        everyone = [process.pid for node in lab.pids for process in lab.processes(node)]
        assert len(everyone) == 7, "process 1 of three, sshd of two, and what was started"
        os.kill(lab.pids["node0"], signal.SIGKILL)
        assert life.down(lab.name)
        assert [one.wait(10), other.wait(10)] == [-signal.SIGKILL] * 2
    assert not lab.dir.exists()
    assert processes.inits(lab.name) == []
    assert not [pid for pid in everyone if processes.namespace(pid, "net")]
    assert lab.dir.name not in Path("/proc/self/mountinfo").read_text()
    assert not life.down(lab.name)


def test_down_after_a_killed_up_removes_everything() -> None:
    name = f"test-{os.getpid()}-killed"
    with subprocess.Popen([sys.executable, SCRIPT, "up", "24", "--name", name]) as process:
        deadline = time.monotonic() + 30
        while len(processes.inits(name)) < 4:
            assert time.monotonic() < deadline
        process.kill()
    assert life.down(name)
    assert processes.inits(name) == []
    assert not life.default_directory(name).exists()


def test_failed_up_cleans_up_and_reports_the_host() -> None:
    name = f"test-{os.getpid()}-fails"
    with pytest.raises(LabError, match="syntax error"):
        life.up(3, name, nft={"node1": "no such rule"})
    assert processes.inits(name) == []
    assert not life.default_directory(name).exists()


def test_down_keeps_a_directory_that_is_not_a_lab(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(LabError, match="not the directory of a lab"):
        life.down(f"test-{os.getpid()}-none", dir=tmp_path)
    assert (tmp_path / "mine").exists()


def test_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text("{}")
    with pytest.raises(LabError, match="exists"):
        life.up(1, f"test-{os.getpid()}-taken", dir=tmp_path)
    assert (tmp_path / "lab.json").exists()
