"""Nodes that are unreachable or not writable: one clear error each, and nothing is started."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from orchestrator.sync.small import MOST_BYTES

from .orch import (
    ORCH,
    agents,
    detached,
    launch,
    orch,
    processes_of_runs,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

HELLO = "import os\nprint('hello from', os.environ['RANK'])\n"

MakeLab = Callable[..., Lab]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return write(tmp_path / "job", "hello.py", HELLO)


def with_key(lab: Lab, folder: Path, node: str, key: str) -> Path:
    """Return an inventory with one more key for `node`."""
    inventory = folder / "hosts.yaml"
    inventory.write_text(
        lab.inventory.read_text().replace(f"name: {node},", f"name: {node}, {key},")
    )
    return inventory


def test_launch_with_a_silent_host_is_refused_after_one_timeout(
    make_lab: MakeLab, script: Path
) -> None:
    lab = make_lab(4)
    lab.vanish("node2")
    began = time.monotonic()
    done = launch(lab, "--launcher", "direct", "--connect-timeout", "3", script)
    assert time.monotonic() - began < 3 + 10
    assert done.returncode == 125
    assert "1 of 4 nodes cannot be reached; nothing was started" in done.stderr
    assert "node2" in done.stderr
    assert "node1:" not in done.stderr
    others = [node for node in lab.nodes if node != "node2"]
    assert not [node for node in others if (lab.files(node) / "home/.local").exists()]


def test_launch_to_a_port_without_sshd_is_refused_at_once(
    lab3: Lab, tmp_path: Path, script: Path
) -> None:
    inventory = with_key(lab3, tmp_path, "node1", "port: 2222")
    done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
    assert done.returncode == 125
    assert "1 of 3 nodes cannot be reached" in done.stderr
    assert "node1" in done.stderr
    assert "198.18.0.11 port 2222 refuses connections" in done.stderr


@pytest.fixture
def known_hosts(lab3: Lab) -> Iterator[Path]:
    """The known host keys of the controller's user, which are restored."""
    file = lab3.home / ".ssh/known_hosts"
    before = file.read_text()
    yield file
    file.write_text(before)


def test_unknown_host_key_is_refused_unless_accepted(
    lab3: Lab, known_hosts: Path, script: Path
) -> None:
    known_hosts.write_text("")
    done = launch(lab3, "--launcher", "direct", script)
    assert done.returncode == 125
    assert done.stderr.count("SHA256:") == 3
    assert "--accept-new" in done.stderr
    assert launch(lab3, "--launcher", "direct", "--accept-new", script).returncode == 0
    assert launch(lab3, "--launcher", "direct", script).returncode == 0


def test_unknown_host_keys_are_trusted_if_ssh_config_says_so_on_the_screen(
    lab3: Lab, known_hosts: Path
) -> None:
    known_hosts.write_text("")
    config = lab3.home / ".ssh/config"
    config.write_text("Host *\n  StrictHostKeyChecking accept-new # as our cloud does\n")
    words = [*ORCH, "exec", "-i", str(lab3.inventory), "--", "hostname"]
    done = lab3.run(words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{config}:2: unknown host keys are trusted") == 1
    again = lab3.run(words)
    config.unlink()
    assert (again.returncode, again.stderr) == (0, "")


def test_changed_host_key_is_refused_with_any_option(
    lab3: Lab, known_hosts: Path, script: Path
) -> None:
    lines = known_hosts.read_text().splitlines()
    keys = [line.split()[1:3] for line in lines]
    swapped = [
        " ".join([line.split()[0], *key]) for line, key in zip(lines, keys[::-1], strict=True)
    ]
    known_hosts.write_text("\n".join(swapped) + "\n")
    done = launch(lab3, "--launcher", "direct", "--accept-new", script)
    assert done.returncode == 125
    assert done.stderr.count("SHA256:") >= 4  # both fingerprints, of at least two nodes
    assert "ssh-keygen" in done.stderr
    wait_until(lambda: agents(lab3) == [])


def test_rc_files_that_print_are_harmless(make_lab: MakeLab, script: Path) -> None:
    lab = make_lab(2, noisy_bashrc=True)
    done = launch(lab, "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "r0 node0 │ hello from 0",
        "r1 node1 │ hello from 1",
    ]


def test_node_without_rsync_gets_small_files_and_is_named_for_others(
    make_lab: MakeLab, script: Path
) -> None:
    lab = make_lab(2, no_rsync=True)
    done = launch(lab, "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    (script.parent / "large").write_bytes(bytes(MOST_BYTES + 1))
    done = launch(lab, "--launcher", "direct", script)
    assert done.returncode == 125
    assert "node[0-1]: rsync is not installed on the node" in done.stderr
    assert "apt-get install rsync" in done.stderr
    assert processes_of_runs(lab) == []


def test_missing_python_is_named_with_the_remedy(lab3: Lab, tmp_path: Path, script: Path) -> None:
    inventory = with_key(lab3, tmp_path, "node1", "python: /opt/none/bin/python")
    done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
    assert done.returncode == 125
    assert "node1: there is no Python at '/opt/none/bin/python'" in done.stderr
    assert "`python:`" in done.stderr
    assert "node0" not in done.stderr


def test_working_folder_that_cannot_be_written_is_named(
    lab3: Lab, tmp_path: Path, script: Path
) -> None:
    inventory = with_key(lab3, tmp_path, "node2", "workdir: /usr/lib/none")
    done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
    assert done.returncode == 125
    assert "node2: the working folder /usr/lib/none cannot be used" in done.stderr
    assert "Read-only file system" in done.stderr


def test_home_that_cannot_be_written_is_named_and_another_folder_serves(
    lab3: Lab, tmp_path: Path, script: Path
) -> None:
    done = lab3.run(["mount", "-o", "remount,bind,ro", "/root"], node="node1")
    assert done.returncode == 0, done.stderr
    try:
        shutil.rmtree(lab3.files("node1") / "home/.local", ignore_errors=True)
        more = "workdir: /tmp/work/job"
        done = launch(
            lab3, "--launcher", "direct", script, inventory=with_key(lab3, tmp_path, "node1", more)
        )
        assert done.returncode == 125
        assert "node1: orch's agent cannot be written to ~/.local/state/orch/node" in done.stderr
        assert "Read-only file system" in done.stderr
        found = re.search(r"such as (/var/tmp/\S+)", " ".join(done.stderr.split()))
        assert found, done.stderr
        inventory = with_key(lab3, tmp_path, "node1", f"{more}, state: {found[1]}")
        done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
        theirs = lab3.files("node1") / "var-tmp" / Path(found[1]).name
        assert theirs.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in theirs.glob("runs/*/node1/attempt-0/rank-1.out")]
        run = detached(lab3, "--launcher", "direct", script, inventory=inventory)
        assert wait_for_end(lab3, run)["exit_code"] == 0
    finally:
        lab3.run(["mount", "-o", "remount,bind,rw", "/root"], node="node1")


def test_folder_of_another_user_for_the_agent_is_refused(
    lab3: Lab, tmp_path: Path, script: Path
) -> None:
    lab3.run(["install", "-d", "-o", "65534", "/tmp/theirs"], node="node1")
    lab3.run(["ln", "-s", "/tmp/theirs", "/tmp/link"], node="node1")
    for place in ("/tmp/theirs", "/tmp/theirs/orch", "/tmp/link"):
        inventory = with_key(lab3, tmp_path, "node1", f"state: {place}")
        done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
        assert done.returncode == 125
        assert "node1: orch's agent is not started: /tmp/theirs belongs to nobody" in done.stderr
    assert list((lab3.files("node1") / "tmp/theirs").iterdir()) == []


def test_full_disk_is_named(lab3: Lab, tmp_path: Path, script: Path) -> None:
    lab3.run(["mkdir", "/tmp/small"], node="node1")
    mounted = lab3.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp/small"], node="node1"
    )
    assert mounted.returncode == 0, mounted.stderr
    try:
        (script.parent / "big").write_bytes(bytes(5_000_000))
        inventory = with_key(lab3, tmp_path, "node1", "workdir: /tmp/small")
        done = launch(lab3, "--launcher", "direct", script, inventory=inventory)
        assert done.returncode == 125
        assert "node1" in done.stderr
        assert "No space left on device" in done.stderr or "full" in done.stderr
        assert processes_of_runs(lab3) == []
    finally:
        lab3.run(["umount", "/tmp/small"], node="node1")


def test_folder_that_nodes_share_is_written_once(make_lab: MakeLab, script: Path) -> None:
    lab = make_lab(3, shared_home=True)
    done = launch(lab, "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 folders (the others are shared)" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    listed = lab.run(["ls", "-A", "orch/job"], node="node2", cwd="/root").stdout.split()
    assert listed == [".orch-project", "hello.py"]  # no sentinel is left


def test_ranks_rendezvous_on_the_shared_network(
    make_lab: MakeLab, tmp_path: Path, script: Path
) -> None:
    lab = make_lab(2, second_net=True, decoy=True)
    # Without its address on the first network, node1 shares only the second with node0.
    source = "import os\nprint(os.environ['MASTER_ADDR'], os.environ['GLOO_SOCKET_IFNAME'])\n"
    script = write(tmp_path / "job2", "where.py", source)
    done = launch(lab, "--launcher", "direct", "--main-address", second_address(lab), script)
    assert done.returncode == 0, done.stderr
    assert {line.split("│ ")[1] for line in done.stdout.splitlines()} == {
        f"{second_address(lab)} eth1"
    }


def second_address(lab: Lab) -> str:
    shown = lab.run(["ip", "-o", "-4", "addr", "show", "dev", "eth1"], node="node0").stdout
    return shown.split()[3].split("/")[0]


def test_ignored_files_are_not_sent_and_files_on_the_node_are_kept(
    lab3: Lab, tmp_path: Path
) -> None:
    source = "import os\nprint(sorted(os.listdir()))\n"
    script = write(tmp_path / "ignoring", "list.py", source)
    folder = script.parent
    (folder / ".gitignore").write_text("*.ckpt\ndata/\n")
    (folder / ".orchignore").write_text("!data/\nsecret.txt\n")
    (folder / "data").mkdir()
    for name in ("a.ckpt", "secret.txt", "data/x", ".git", "__pycache__"):
        path = folder / name
        if name in (".git", "__pycache__"):
            path.mkdir()
            path /= "inside"
        path.write_text("x")
    home = lab3.files("node0") / "home/orch/ignoring"
    home.mkdir(parents=True)
    (home / "was-here").write_text("x")
    where = ("--nodes", "node0", "--workdir", "orch/ignoring")
    done = launch(lab3, *where, "--launcher", "direct", script)
    assert done.stdout == (
        "r0 node0 │ ['.gitignore', '.orchignore', 'data', 'list.py', 'was-here']\n"
    )


def test_two_simultaneous_runs_get_different_ports(lab3: Lab, tmp_path: Path) -> None:
    from .orch import Launch

    source = (
        "import os, time\nprint('port', os.environ['MASTER_PORT'], flush=True)\ntime.sleep(1000)\n"
    )
    script = write(tmp_path / "job", "port.py", source)
    with (
        Launch(lab3, "--launcher", "direct", script) as first,
        Launch(lab3, "--launcher", "direct", script) as second,
    ):
        ports = [run.wait_for_lines(3, "port")[0].split()[-1] for run in (first, second)]
        assert ports[0] != ports[1]
        taken = launch(lab3, "--launcher", "direct", "--main-port", ports[0], script)
        assert taken.returncode == 125
        assert f"port {ports[0]} on {lab3.address('node0')} is taken" in taken.stderr


def test_shell_startup_file_that_blocks_the_command_is_named(lab3: Lab) -> None:
    waiting = "while [ ! -e /tmp/open ]; do sleep 0.1; done; exit"
    hanging = {"node0": "exec sh", "node1": "read -p 'password: ' x", "node2": waiting}
    files = {node: lab3.files(node) / "home/.bashrc" for node in hanging}
    before = {node: file.read_bytes() if file.exists() else None for node, file in files.items()}
    try:
        for node, line in hanging.items():
            files[node].write_text(f"{line}\n")
        done = orch(lab3, "nodes", "-i", lab3.inventory, timeout=200)
    finally:
        for node, file in files.items():
            content = before[node]
            file.unlink() if content is None else file.write_bytes(content)
        # The shell of node2 does not notice that orch has hung up.
        gate = lab3.files("node2") / "tmp/open"
        gate.touch()
        wait_until(lambda: agents(lab3) == [])
        gate.unlink()
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "the login shell did not run orch's command within 30 s" in said
    assert "case $- in *i*) ;; *) return ;; esac" in said
    assert "print(1)" not in said
