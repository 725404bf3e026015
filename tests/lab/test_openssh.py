"""Runs over OpenSSH's client: they end, detach and reconnect as over any transport, and leave nothing."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    OBEYING,
    Launch,
    detached,
    latest,
    launch,
    orch,
    order_to_leave,
    processes_of_runs,
    run_name,
    unlike,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)
from .typed import Typed

pytestmark = pytest.mark.lab


class Site:
    """A lab whose inventory is used over OpenSSH's client; `sockets` is the folder of its masters."""

    def __init__(self, lab: Lab, inventory: Path, sockets: Path) -> None:
        self.lab = lab
        self.inventory = inventory
        self.sockets = sockets

    def masters(self) -> dict[int, str]:
        """Return the command line of each master, by its id on this machine."""
        lines = {p.pid: " ".join(p.argv) for p in self.lab.processes("ctl")}
        return {pid: line for pid, line in lines.items() if f"ControlPath={self.sockets}" in line}

    def is_clean(self) -> bool:
        """Tell whether nothing is left of any master."""
        return not self.masters() and list(self.sockets.iterdir()) == []


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the control sockets."""
    top = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))  # a socket's path must be short
    own = Lab.env.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Lab, "env", property(lambda lab: {**own(lab), "TMPDIR": str(top)}))
    yield top / f"orch-ssh-{os.geteuid()}"
    shutil.rmtree(top)


@pytest.fixture
def site(lab3: Lab, tmp_path: Path, sockets: Path) -> Site:
    return site_of(lab3, tmp_path, sockets)


def site_of(lab: Lab, folder: Path, sockets: Path) -> Site:
    inventory = folder / "hosts.yaml"
    text = lab.inventory.read_text()
    inventory.write_text("transport: openssh\n" + text[text.index("defaults:") :])
    return Site(lab, inventory, sockets)


def want_password(lab: Lab, node: str, password: str, methods: str = "publickey,password") -> None:
    """Have the sshd of `node` want a password, by default besides a key."""
    files = lab.files(node)
    config = files / "etc-ssh" / "sshd_config"
    text = config.read_text().replace("PasswordAuthentication no", "PasswordAuthentication yes")
    text = text.replace("PermitRootLogin prohibit-password", "PermitRootLogin yes")
    if "keyboard-interactive" in methods:
        text = text.replace("UsePAM no", "UsePAM yes")
        text = text.replace("KbdInteractiveAuthentication no", "KbdInteractiveAuthentication yes")
    config.write_text(f"AuthenticationMethods {methods}\n{text}")
    hashed = lab.run(["openssl", "passwd", "-6", password]).stdout.strip()
    (files / "etc-shadow").write_text(f"root:{hashed}:19000:0:99999:7:::\n")
    lab.restart_sshd(node)


CODE = "publickey,keyboard-interactive"
HOSTS = 12 if os.environ.get("ORCH_LOGINS") == "all" else 3
"""How many hosts are behind a gateway."""

FAILING = """
import os, sys, time
print("up", os.environ["RANK"], flush=True)
if os.environ["RANK"] == "1":
    sys.exit(3)
time.sleep(1000)
"""


def test_failing_rank_ends_the_launch_and_no_master_is_left(site: Site, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "fail.py", FAILING)
    done = launch(site.lab, "--launcher", "direct", script, inventory=site.inventory)
    assert done.returncode == 3, done.stderr
    run = run_name(done.stderr)
    assert sorted(line[-4:] for line in done.stdout.splitlines()) == ["up 0", "up 1", "up 2"]
    assert unlike(site.lab, run) == []
    assert processes_of_runs(site.lab, run) == []
    assert site.is_clean()


def test_detached_run_continues_over_the_same_masters_until_it_is_stopped(
    site: Site, tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(site.lab, "--launcher", "direct", script, inventory=site.inventory)
    masters = site.masters()
    assert len(masters) == 3
    wait_for_copies(site.lab, run, 3, "line 3\n")
    stopped = orch(site.lab, "stop", run)
    assert stopped.returncode == 0, stopped.stderr
    wait_for_end(site.lab, run)
    assert processes_of_runs(site.lab, run) == []
    assert site.is_clean()


def test_run_reconnects_after_its_master_was_killed(site: Site, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(site.lab, "--launcher", "direct", script, inventory=site.inventory) as launched:
        launched.wait_for_lines(3, "line 1\n")
        run = latest(site.lab)
        before = site.masters()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(site.masters().keys() - before.keys()) == 3)
        order_to_leave(site.lab, run, 0)
        assert launched.end() == 0, launched.err
    assert unlike(site.lab, run) == []
    assert site.is_clean()


ONE_TIME = """#!/bin/sh
read -r code || [ "$code" ] && [ "$code" = "$(cat /run/code)" ] && rm /run/code
"""


def want_one_time_code(lab: Lab, node: str, code: str) -> None:
    """Have the sshd of `node` want, besides a key, a code that counts once."""
    run = lab.files(node) / "run"
    (run / "code").write_text(code)
    (run / "check").write_text(ONE_TIME)
    (run / "check").chmod(0o700)
    (run / "pam").write_text(
        "auth required pam_exec.so quiet expose_authtok /run/check\nauth required pam_permit.so\n"
        "account required pam_permit.so\nsession required pam_permit.so\n"
    )
    mounted = lab.run(["mount", "--bind", "/run/pam", "/etc/pam.d/sshd"], node=node)
    assert mounted.returncode == 0, mounted.stderr
    want_password(lab, node, "no password", CODE)


def test_one_time_code_of_a_gateway_is_typed_once_for_all_hosts_and_the_background(
    make_lab: Callable[..., Lab], tmp_path: Path, sockets: Path
) -> None:
    lab = make_lab(HOSTS + 1)
    want_one_time_code(lab, "node0", "424242")
    site = site_of(lab, tmp_path, sockets)
    lines = site.inventory.read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if "node0" not in line)
    key = f"defaults:\n  proxy_jump: root@{lab.address('node0')}\n"
    site.inventory.write_text(text.replace("defaults:\n", key))
    script = write(tmp_path / "job", "obey.py", OBEYING)
    words: list[str | Path] = ["--launcher", "direct", "--detach", script]
    with typed(lab, "launch", "-i", site.inventory, *words) as launched:
        launched.wait_for("assword:")
        launched.type(b"424242\r")
        assert launched.end() == 0, launched.shown
    assert launched.shown.count("assword:") == 1
    assert "424242" not in launched.shown
    assert not (lab.files("node0") / "run/code").exists()
    run = run_name(launched.shown)
    wait_for_copies(lab, run, HOSTS, "line 3\n")
    with typed(lab, "exec", "-i", site.inventory, "--transport", "ssh", "--", "hostname") as other:
        assert other.end() == 0  # handed over, to the masters of the run
    assert "assword:" not in other.shown
    assert orch(lab, "stop", run).returncode == 0
    wait_for_end(lab, run)
    assert processes_of_runs(lab, run) == []
    assert site.is_clean()


@contextmanager
def typed(lab: Lab, *words: str | Path) -> Iterator[Typed]:
    terminal = Typed(lab, *words)
    try:
        yield terminal
    finally:
        terminal.close()


def test_login_that_fails_at_the_terminal_is_reported_for_all_hosts(
    make_lab: Callable[..., Lab], tmp_path: Path, sockets: Path
) -> None:
    lab = make_lab(2)
    for node in lab.nodes:
        want_password(lab, node, "sesame")
    site = site_of(lab, tmp_path, sockets)
    with typed(lab, "exec", "-i", site.inventory, "--", "hostname") as command:
        for count in range(1, 4):
            command.wait_for("password:", count)
            command.type(b"wrong\r")
        assert command.end() == 125
    assert "2 of 2 nodes cannot be reached" in command.shown
    assert "the login at the terminal failed" in command.shown
    assert command.shown.count("password:") == 3
    without = orch(lab, "exec", "-i", site.inventory, "--", "hostname")
    assert without.returncode == 125
    assert "wants password besides it" in without.stderr
    assert site.is_clean()


def test_password_prompt_ends_the_command_with_ctrl_c(
    make_lab: Callable[..., Lab], tmp_path: Path, sockets: Path
) -> None:
    lab = make_lab(2)
    want_password(lab, "node1", "sesame")
    site = site_of(lab, tmp_path, sockets)
    with typed(lab, "exec", "-i", site.inventory, "--", "hostname") as command:
        command.wait_for("password:")
        command.type(b"\x03")
        assert command.end() == 130, command.shown
    assert site.is_clean()


def test_code_of_a_host_is_typed_once_for_a_run_over_the_default_transport(
    make_lab: Callable[..., Lab], tmp_path: Path, sockets: Path
) -> None:
    lab = make_lab(2)
    want_password(lab, "node1", "sesame", CODE)
    site = site_of(lab, tmp_path, sockets)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    words: list[str | Path] = ["-i", site.inventory, "--transport", "ssh", "--launcher", "direct"]
    with typed(lab, "launch", *words, "--detach", script) as launched:
        launched.wait_for("assword:")
        launched.type(b"sesame\r")
        assert launched.end() == 0, launched.shown
    assert launched.shown.count("assword:") == 1
    assert "OpenSSH's client connects" in launched.shown
    run = run_name(launched.shown)
    wait_for_copies(lab, run, 2, "line 3\n")
    assert orch(lab, "stop", run).returncode == 0
    wait_for_end(lab, run)
    assert processes_of_runs(lab, run) == []
    assert site.is_clean()


def test_open_connection_of_a_user_serves_a_launch_over_the_default_transport(
    make_lab: Callable[..., Lab], tmp_path: Path, sockets: Path
) -> None:
    lab = make_lab(2)
    want_password(lab, "node1", "sesame", CODE)
    site = site_of(lab, tmp_path, sockets)
    asking = tmp_path / "ask"
    asking.write_text("#!/bin/sh\necho sesame\n")
    asking.chmod(0o700)
    master = sockets.parent / "mine"
    login: list[str | Path] = [
        "ssh",
        "-F",
        lab.dir / "ssh_config",
        "-o",
        "BatchMode=no",
        "-fNMS",
        master,
    ]
    ask = {"SSH_ASKPASS": str(asking), "SSH_ASKPASS_REQUIRE": "force"}
    opened = lab.run([*login, lab.address("node1")], env=ask)
    assert opened.returncode == 0, opened.stderr
    config = lab.home / ".ssh" / "config"
    config.write_text(f"Host {lab.address('node1')}\n  ControlPath {master}\n")
    script = write(tmp_path / "job", "hello.py", "import os\nprint('hello', os.environ['RANK'])\n")
    words: list[str | Path] = ["--transport", "ssh", "--launcher", "direct", script]
    done = launch(lab, *words, inventory=site.inventory)
    assert done.returncode == 0, done.stderr
    assert "a connection of ssh is open, at its ControlPath" in done.stderr
    checked = lab.run(["ssh", "-S", master, "-O", "exit", lab.address("node1")])
    assert checked.returncode == 0, checked.stderr
