"""Logins without a key file of the user's, beside `ssh` with the same files and without a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, launch, wait_until, write

pytestmark = pytest.mark.lab

MakeLab = Callable[..., Lab]
HANDED_OVER = "OpenSSH's client connects"
NODE = "node0"


class Login:
    """One node that `ssh node0` and orch reach with the files of the controller's user."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.inventory = lab.dir / "own.yaml"
        self.inventory.write_text(f"hosts: [{', '.join(lab.nodes)}]\n")
        self.config = lab.home / ".ssh/config"
        self.env = {"TMPDIR": f"/tmp/{lab.name}"}  # a socket's path must be short
        Path(self.env["TMPDIR"]).mkdir()

    def close(self) -> None:
        """Check that nothing is left of OpenSSH's masters."""
        left = [*Path(self.env["TMPDIR"]).glob("orch-ssh-*/*")]
        shutil.rmtree(self.env["TMPDIR"])
        assert left == []

    def file(self, path: str, text: str, mode: int = 0o644, node: str = NODE) -> None:
        """Show a file with this text at a path of a node, or of `ctl`, in place of the one there."""
        shown = f"/run/shown{path.replace('/', '-')}"
        own = self.lab.files(node) / shown[1:]
        own.write_text(text)
        own.chmod(mode)
        self.mount(shown, path, node)

    def mount(self, own: str | Path, path: str, node: str = NODE) -> None:
        """Show a file or folder of a node at another existing path there."""
        done = self.lab.run(["mount", "--bind", own, path], node=node)
        assert done.returncode == 0, done.stderr

    def sshd(self, text: str, *without: str) -> None:
        """Start the node's sshd with these lines first."""
        file = self.lab.files(NODE) / "etc-ssh/sshd_config"
        file.write_text(f"{textwrap.dedent(text)}{file.read_text()}")
        self.lab.restart_sshd(NODE)

    def forget_key(self) -> None:
        """Remove the user's key."""
        (self.lab.home / ".ssh/id_ed25519").unlink()

    def by_ssh(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.lab.run(["setsid", "--wait", "ssh", NODE, "hostname"], env={**self.env, **env})

    def by_orch(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = ["setsid", "--wait", *ORCH, "exec", "-i", str(self.inventory), *words]
        return self.lab.run([*command, "--", "hostname"], env={**self.env, **env})

    def both(self, **env: str) -> subprocess.CompletedProcess[str]:
        """Check that ssh logs in, and orch too; return what orch printed."""
        ssh = self.by_ssh(**env)
        assert (ssh.returncode, ssh.stdout) == (0, f"{NODE}\n"), ssh.stderr
        done = self.by_orch(**env)
        assert (done.returncode, done.stdout) == (0, f"{NODE} │ {NODE}\n"), done.stderr
        return done


@pytest.fixture
def login(make_lab: MakeLab) -> Iterator[Login]:
    made = Login(make_lab(1))
    yield made
    made.close()


def test_key_of_the_host_logs_in(login: Login) -> None:
    own = login.lab.files("ctl") / "etc-ssh"
    own.mkdir()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own / "ssh_host_ed25519_key"],
        check=True,
    )
    (own / "ssh_config").write_text(
        "Host *\n  EnableSSHKeysign yes\n  HostbasedAuthentication yes\n"
    )
    login.mount(own, "/etc/ssh", "ctl")
    key = (own / "ssh_host_ed25519_key.pub").read_text()
    (login.lab.files(NODE) / "etc-ssh/ssh_known_hosts").write_text(f"ctl {key}")
    (login.lab.files(NODE) / "home/.shosts").write_text("ctl root\n")
    login.sshd(
        "HostbasedAuthentication yes\nHostbasedUsesNameFromPacketOnly yes\nIgnoreRhosts no\n"
    )
    login.forget_key()
    assert (
        f"{HANDED_OVER} (--transport openssh), because ssh_config has Hostbased"
        in login.both().stderr
    )


def want_pam(login: Login, auth: str, methods: str) -> None:
    """Have the sshd want keyboard-interactive, for which PAM has the lines `auth`."""
    login.file(
        "/etc/pam.d/sshd",
        f"{auth}\naccount required pam_permit.so\nsession required pam_permit.so\n",
    )
    own = f"PermitRootLogin yes\nUsePAM yes\nAuthenticationMethods {methods}\n"
    login.sshd(f"{own}KbdInteractiveAuthentication yes\n")


def test_keyboard_interactive_without_questions_logs_in_without_a_terminal(login: Login) -> None:
    want_pam(login, "auth required pam_permit.so", "publickey,keyboard-interactive")
    assert HANDED_OVER in login.both().stderr


def test_questions_are_answered_by_ssh_askpass_without_a_terminal(login: Login) -> None:
    asked = login.lab.home / "asked"
    want_pam(login, "auth required pam_unix.so", "publickey,keyboard-interactive")
    hashed = login.lab.run(["openssl", "passwd", "-6", "sesame"]).stdout.strip()
    (login.lab.files(NODE) / "etc-shadow").write_text(f"root:{hashed}:19000:0:99999:7:::\n")
    program = login.lab.home / "ask"
    program.write_text(f'#!/bin/sh\necho "$1" >>{asked}\necho sesame\n')
    program.chmod(0o700)
    done = login.both(SSH_ASKPASS=str(program), SSH_ASKPASS_REQUIRE="force")
    assert HANDED_OVER in done.stderr
    assert asked.read_text().count("assword:") == 2  # one of ssh, one of orch
    refused = login.by_orch()
    assert refused.returncode == 125
    assert "wants keyboard-interactive besides it" in refused.stderr
    assert "Failed" not in (login.lab.files(NODE) / "sshd.log").read_text()


SHOW = 'echo "$GREETING/$LC_WORD"; test -S "$SSH_AUTH_SOCK" && ssh-add -l'


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_sessions_have_the_variables_and_the_agent_of_ssh_config(
    login: Login, transport: str
) -> None:
    socket = login.lab.home / "agent"
    login.config.write_text("SetEnv GREETING=hi\nSendEnv LC_WORD\nForwardAgent yes\n")
    login.sshd("AcceptEnv GREETING\n")
    env = {**login.env, "SSH_AUTH_SOCK": str(socket), "LC_WORD": "word"}
    with login.lab.popen(["ssh-agent", "-D", "-a", socket]) as agent:
        wait_until(socket.exists)
        added = login.lab.run(["ssh-add", "-q", login.lab.home / ".ssh/id_ed25519"], env=env)
        assert added.returncode == 0, added.stderr
        by_ssh = login.lab.run(["ssh", NODE, SHOW], env=env)
        words = [
            "exec",
            "-i",
            str(login.inventory),
            "--transport",
            transport,
            "--",
            "sh",
            "-c",
            SHOW,
        ]
        by_orch = login.lab.run([*ORCH, *words], env=env)
        agent.terminate()
    assert by_ssh.stdout.startswith("hi/word\n256 SHA256:"), by_ssh
    shown = [line.partition("│ ")[2] for line in by_orch.stdout.splitlines()]
    expected = by_ssh.stdout.splitlines()
    # Only OpenSSH's client sends variables of this machine.
    assert shown == (["hi/", *expected[1:]] if transport == "ssh" else expected)


def lane(*programs: str) -> pytest.MarkDecorator:
    """Skip a test unless ORCH_LOGINS=all, and these programs are installed."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    absent = [name for name in programs if shutil.which(name, path=path) is None]
    if os.environ.get("ORCH_LOGINS") != "all":
        return pytest.mark.skip("not asked for: ORCH_LOGINS=all")
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)}")


PIN = "1234"


@lane("softhsm2-util")
def test_key_of_a_token_logs_in(login: Login) -> None:
    library = "/usr/lib/softhsm/libsofthsm2.so"
    (login.lab.home / "tokens").mkdir()
    conf = login.lab.home / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {login.lab.home}/tokens\n")
    login.env["SOFTHSM2_CONF"] = str(conf)
    key = login.lab.home / "key"

    def tool(*words: str | Path) -> None:
        done = login.lab.run(words, env=login.env)
        assert done.returncode == 0, done.stderr

    tool("softhsm2-util", "--init-token", "--free", "--label", "lab", "--so-pin", PIN, "--pin", PIN)
    tool("openssl", "genpkey", "-algorithm", "RSA", "-out", key)
    tool(
        "softhsm2-util", "--import", key, "--token", "lab", "--label", "k", "--id", "01", "--pin", PIN
    )  # fmt: skip
    public = login.lab.run(["ssh-keygen", "-D", library], env=login.env).stdout
    (login.lab.files(NODE) / "home/.ssh/authorized_keys").write_text(public)
    key.unlink()
    login.forget_key()
    login.config.write_text(f"PKCS11Provider {library}\n")
    program = login.lab.home / "ask"
    program.write_text(f"#!/bin/sh\necho {PIN}\n")
    program.chmod(0o700)
    done = login.both(SSH_ASKPASS=str(program), SSH_ASKPASS_REQUIRE="force")
    assert f"because ssh_config has PKCS11Provider {library}" in done.stderr
    refused = login.by_orch()
    assert refused.returncode == 125
    assert f"ssh-add -s {library}" in refused.stderr


@pytest.mark.skipif("ORCH_SK_PROVIDER" not in os.environ, reason="needs ORCH_SK_PROVIDER")
def test_key_on_a_security_key_logs_in(login: Login) -> None:
    provider = login.lab.home / "provider.so"  # no other user can write to it
    shutil.copy(os.environ["ORCH_SK_PROVIDER"], provider)
    login.forget_key()
    key = login.lab.home / ".ssh/id_ed25519_sk"
    made = login.lab.run(
        ["ssh-keygen", "-q", "-t", "ed25519-sk", "-N", "", "-w", provider, "-f", key]
    )
    assert made.returncode == 0, made.stderr
    shutil.copy(f"{key}.pub", login.lab.files(NODE) / "home/.ssh/authorized_keys")
    login.config.write_text(f"SecurityKeyProvider {provider}\n")
    assert f"because ssh_config has SecurityKeyProvider {provider}" in login.both().stderr


@lane("krb5kdc", "kadmin.local", "kinit")
def test_ticket_of_kerberos_logs_in(login: Login) -> None:
    folder = login.lab.files("ctl") / "kdc"
    folder.mkdir()
    krb5 = f"""
        [libdefaults]
            default_realm = LAB
            dns_canonicalize_hostname = false
            rdns = false
            dns_lookup_kdc = false
            default_keytab_name = FILE:/run/krb5.keytab
        [realms]
            LAB = {{
                kdc = 127.0.0.1:88
                database_name = {folder}/principal
                key_stash_file = {folder}/stash
                acl_file = {folder}/acl
                supported_enctypes = aes256-cts:normal
            }}
        """
    for node in ("ctl", NODE):
        login.file("/etc/krb5.conf", textwrap.dedent(krb5), node=node)
    env = {"KRB5_KDC_PROFILE": "/etc/krb5.conf", **login.env}

    def tool(*words: str | Path, **more: str) -> None:
        done = login.lab.run(words, env=env, **more)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr

    tool("kdb5_util", "create", "-s", "-r", "LAB", "-P", "master")
    for query in ("addprinc -pw secret root", f"addprinc -randkey host/{NODE}"):
        tool("kadmin.local", "-q", query)
    tool("kadmin.local", "-q", f"ktadd -k {folder}/keytab host/{NODE}")
    shutil.copy(folder / "keytab", login.lab.files(NODE) / "run/krb5.keytab")
    login.sshd("GSSAPIAuthentication yes\n")
    login.forget_key()
    login.config.write_text("GSSAPIAuthentication yes\n")
    login.env["KRB5CCNAME"] = f"FILE:{login.lab.home}/ticket"
    env |= login.env
    with login.lab.popen(["krb5kdc", "-n"], env=env) as server:
        tool(
            "timeout",
            "20",
            "sh",
            "-c",
            "until kinit root; do sleep 0.1; done",
            input="secret\n" * 99,
        )
        assert "because ssh_config has GSSAPIAuthentication" in login.both().stderr
        server.kill()


@lane()
@pytest.mark.timeout(1800)
def test_fifty_launches_through_a_proxy_command_and_its_gateway_succeed(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab(13)  # with sshd's default MaxStartups
    way = f"ssh -W %h:%p {lab.address(NODE)}"
    (lab.home / ".ssh/config").write_text(
        f"Host 198.18.* !{lab.address(NODE)}\n  ProxyCommand {way}\n"
    )
    lines = lab.inventory.read_text().splitlines(keepends=True)
    inventory = tmp_path / "behind.yaml"
    inventory.write_text("".join(line for line in lines if f"name: {NODE}," not in line))
    script = write(tmp_path / "job", "hello.py", "print('here')\n")
    words: list[str | Path] = ["--launcher", "direct", "--preflight", "off", script]
    for _ in range(50):
        done = launch(lab, *words, inventory=inventory)
        assert (done.returncode, done.stdout.count("here")) == (0, 12), done.stderr
