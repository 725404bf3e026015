"""Common firewall managers, closed except for SSH, are opened by pasting the remedy."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest
from labkit import build
from labkit.lab import Lab

from .orch import orch, wait_until

pytestmark = pytest.mark.lab

ONLY_SSH = """
{0} -A INPUT -i lo -j ACCEPT
{0} -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT
{0} -A INPUT -p tcp --dport 22 -j ACCEPT
{0} -A INPUT -j REJECT --reject-with icmp-host-prohibited
"""


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name, path=build.PATH) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(2)


def shell(lab: Lab, script: str) -> str:
    """Run a script on node1."""
    done = lab.run(["sh", "-ec", script], node="node1")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def own_copy(lab: Lab, folder: str) -> None:
    """Give node1 a private writable folder."""
    shell(lab, f"mkdir -p /tmp/own{folder}; cp -a {folder}/. /tmp/own{folder}")
    shell(lab, f"mount --bind /tmp/own{folder} {folder}")


def preflight(lab: Lab) -> subprocess.CompletedProcess[str]:
    return orch(lab, "preflight", "-i", lab.inventory, "--only", "net.tcp", "--output", "json")


def is_fixed_by(lab: Lab, program: str, manager: str) -> None:
    """Check that node1 fails due to `manager`, and passes once the lines, all of `program`, are pasted."""
    done = preflight(lab)
    assert done.returncode == 1, done.stderr
    (failed,) = [each for each in json.loads(done.stdout)["checks"] if each["status"] == "fail"]
    assert failed["nodes"] == ["node1"]
    assert manager in failed["message"]
    commands = failed["remedy"]["commands"]
    assert commands and all(command.split()[0] == program for command in commands)
    for command in commands:
        shell(lab, command)
    again = preflight(lab)
    assert again.returncode == 0, again.stdout + again.stderr


@needs("iptables")
@pytest.mark.parametrize("variant", ["iptables", "iptables-legacy"])
def test_iptables_that_allows_only_ssh_is_opened_by_the_remedy(lab: Lab, variant: str) -> None:
    shell(lab, ONLY_SSH.format(variant))
    is_fixed_by(lab, variant, "iptables")


@needs("iptables", "ufw")
def test_ufw_that_allows_only_ssh_is_opened_by_the_remedy(lab: Lab) -> None:
    own_copy(lab, "/etc/ufw")
    own_copy(lab, "/etc/default")
    shell(lab, "sed -i s/IPV6=yes/IPV6=no/ /etc/default/ufw; ufw allow 22/tcp; ufw --force enable")
    is_fixed_by(lab, "ufw", "ufw")


@needs("firewalld", "firewall-cmd", "dbus-daemon")
def test_firewalld_that_allows_only_ssh_is_opened_by_the_remedy(lab: Lab) -> None:
    own_copy(lab, "/etc/firewalld")
    shell(lab, "mkdir -p /run/dbus; dbus-daemon --system --fork")
    with lab.popen(
        ["firewalld", "--nofork", "--nopid"],
        node="node1",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as firewalld:
        try:
            state = ["firewall-cmd", "--state"]
            wait_until(lambda: lab.run(state, node="node1").returncode == 0, 60)
            is_fixed_by(lab, "firewall-cmd", "firewalld")
        finally:
            firewalld.kill()
