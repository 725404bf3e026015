"""Write the directory of a lab: what the hosts mount, and what the controller needs to log in."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import network
from labkit.host import Spec

Where = bool | Collection[str]

HOME = pwd.getpwuid(0).pw_dir
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

NOISY_BASHRC = """\
echo "Welcome to $(hostname): 2 updates can be applied"
echo "stty: 'standard input': Inappropriate ioctl for device" >&2
"""


@dataclass(frozen=True)
class Traps:
    """Properties of real hosts that cause trouble. A flag is True for all nodes, or names some."""

    own_name_loopback: Where = False
    second_net: Where = False
    decoy: Where = False
    noisy_bashrc: Where = False
    no_rsync: Where = False
    shared_home: Where = False
    nft: str | Mapping[str, str] = ""  # the text of a ruleset, for all nodes or by node

    def names(self) -> set[str]:
        """Return all nodes that are named."""
        named = set(self.nft) if isinstance(self.nft, Mapping) else set()
        for where in (getattr(self, flag) for flag in FLAGS):
            named |= set() if isinstance(where, bool) else set(where)
        return named

    def is_set(self, flag: str, node: str) -> bool:
        """Tell whether the trap `flag`, one of `FLAGS`, is set on a node."""
        where: Where = getattr(self, flag)
        return where if isinstance(where, bool) else node in where

    def ruleset(self, node: str) -> str:
        """Return the nftables ruleset of a node; empty: none."""
        return self.nft if isinstance(self.nft, str) else self.nft.get(node, "")


FLAGS = ("own_name_loopback", "second_net", "decoy", "noisy_bashrc", "no_rsync", "shared_home")


def keygen(path: Path, comment: str) -> str:
    """Create an ed25519 key pair; return type and key of the public part."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=30)
    kind, key, _ = path.with_name(path.name + ".pub").read_text().split(maxsplit=2)
    return f"{kind} {key}"


def prefixes(python: str) -> list[str]:
    """Return the directories that a Python needs: its own, and that of the base of its virtualenv."""
    code = "import sys; print(sys.prefix, sys.base_prefix, sep='\\n')"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    done.check_returncode()
    named = done.stdout.splitlines()
    return list(dict.fromkeys([*named, *map(os.path.realpath, named)]))


def write_controller(lab: Path, names: Sequence[str]) -> None:
    """Write what the controller mounts: its /etc/hosts and an empty /run."""
    own = lab / "hosts" / "ctl"
    (own / "run").mkdir(parents=True)
    (own / "etc-hosts").write_text(network.hosts_file(names))
    # ssh takes the home folder from there.
    users = re.sub(
        r"(?m)^(root:.*):[^:]*(:[^:]*)$", rf"\1:{lab}/home\2", Path("/etc/passwd").read_text()
    )
    (own / "etc-passwd").write_text(users)
    shown = {"etc-hosts": "/etc/hosts", "etc-passwd": "/etc/passwd", "run": "/run"}
    binds = [[str(own / name), target] for name, target in shown.items()]
    spec = Spec(hostname="ctl", binds=binds, overlays=[], private=[], sshd=False)
    (own / "host.json").write_text(json.dumps(spec._asdict()))


def write_host(lab: Path, names: Sequence[str], node: str, traps: Traps, python: list[str]) -> str:
    """Write one host's files and what it mounts; return its public host key.

    `python` are the directories of the Python that the host must be able to run.
    """
    own = lab / "hosts" / node
    own.mkdir(parents=True)
    home = lab / "shared-home" if traps.is_set("shared_home", node) else own / "home"
    private = {HOME: home, "/tmp": own / "tmp", "/var/tmp": own / "var-tmp", "/run": own / "run"}
    for target, source in private.items():
        source.mkdir(exist_ok=True)
        source.chmod(0o1777 if target.endswith("/tmp") else 0o700 if target == HOME else 0o755)
    (own / "run" / "sshd").mkdir(mode=0o755)

    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(lab / "id_ed25519.pub", home / ".ssh" / "authorized_keys")
    if traps.is_set("noisy_bashrc", node):
        (home / ".bashrc").write_text(NOISY_BASHRC)

    (own / "etc-ssh").mkdir()
    (own / "etc-ssh" / "sshd_config").write_text(SSHD_CONFIG)
    key = keygen(own / "etc-ssh" / "ssh_host_ed25519_key", f"root@{node}")
    files = {
        "/etc/hosts": network.hosts_file(
            names, own_name_loopback=node if traps.is_set("own_name_loopback", node) else None
        ),
        "/etc/hostname": node + "\n",
        # Without PAM, sshd refuses a root with a password locked by "!", as on Ubuntu.
        "/etc/shadow": "root:*:19000:0:99999:7:::\n",
    }
    binds = [[str(own / "etc-ssh"), "/etc/ssh"]]
    for target, text in files.items():
        source = own / target[1:].replace("/", "-")
        source.write_text(text)
        source.chmod(0o600 if target == "/etc/shadow" else 0o644)
        if Path(target).exists():
            binds.append([str(source), target])

    # A Python inside a directory that is private to the host is mounted into that.
    for prefix in python:
        for target, source in private.items():
            if Path(prefix).is_relative_to(target):
                place = source / Path(prefix).relative_to(target)
                place.mkdir(parents=True, exist_ok=True)
                binds.append([prefix, str(place)])
    # The mount that hides the directory of the lab, the source of all others, comes last.
    for target in sorted(private, key=lambda target: lab.is_relative_to(target)):
        binds.append([str(private[target]), target])

    overlays = _hide(own / "hidden", "rsync") if traps.is_set("no_rsync", node) else []
    spec = Spec(node, binds=binds, overlays=overlays, private=list(private), sshd=True)
    (own / "host.json").write_text(json.dumps(spec._asdict()))
    return key


def _hide(upper: Path, program: str) -> list[list[str]]:
    """Return overlays that hide a program: a 0/0 device hides the file of its name."""
    overlays = []
    for place in dict.fromkeys(os.path.realpath(place) for place in PATH.split(":")):
        if Path(place, program).exists():
            layer = upper / place[1:].replace("/", "-")
            layer.mkdir(parents=True)
            os.mknod(layer / program, stat.S_IFCHR, os.makedev(0, 0))
            overlays.append([str(layer), place])
    return overlays


def write_login(lab: Path, keys: Mapping[str, str], python: str) -> None:
    """Write hosts.yaml, known_hosts, ssh_config and the home of the controller; `keys` are by node."""
    addresses = {node: network.address(index) for index, node in enumerate(keys)}
    known = "".join(f"{node},{addresses[node]} {key}\n" for node, key in keys.items())
    (lab / "known_hosts").write_text(known)

    ssh = lab / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    (lab / "home").chmod(0o700)
    shutil.copyfile(lab / "known_hosts", ssh / "known_hosts")
    for key in ("id_ed25519", "id_ed25519.pub"):
        shutil.copy(lab / key, ssh / key)

    (lab / "ssh_config").write_text(
        "# For OpenSSH's ssh outside of the lab's controller: ssh -F this-file\n"
        "Host *\n"
        "  User root\n"
        f"  IdentityFile {lab}/id_ed25519\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {lab}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  BatchMode yes\n"
    )
    hosts = "".join(f"  - {{name: {n}, address: {address}}}\n" for n, address in addresses.items())
    (lab / "hosts.yaml").write_text(
        "# For use inside the lab: scripts/lab exec ctl -- orch launch -i this-file ...\n"
        f"{_by_transport(lab)}"
        "  user: root\n"
        f"  identity_file: {json.dumps(str(lab / 'id_ed25519'))}\n"
        f"  python: {json.dumps(python)}\n"
        "hosts:\n" + hosts
    )


def _by_transport(lab: Path) -> str:
    """Return the start of hosts.yaml, with the transport that $ORCH_LAB_TRANSPORT names."""
    transport = os.environ.get("ORCH_LAB_TRANSPORT")
    if transport is None:
        return "defaults:\n"
    return f"transport: {transport}\ndefaults:\n"
