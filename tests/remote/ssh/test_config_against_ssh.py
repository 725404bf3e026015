"""orch's own reader and `ssh -G` agree about any configuration.

Except that orch does not check the values of keywords that have no effect on it (`SetEnv A`), and
without ssh accepts keywords and conditions that OpenSSH 9.2 does not know. And `ProxyJump none # why` is
`none`, where OpenSSH 9.2 also ignores a ProxyCommand after it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.inventory import Host
from orchestrator.remote.ssh.config import ConfigParseError, Resolver, Target
from orchestrator.remote.ssh.config_files import ConfigReader, Unsure
from orchestrator.remote.ssh.openssh_config import Openssh

SSH = shutil.which("ssh") or ""
pytestmark = pytest.mark.skipif(not SSH, reason="needs OpenSSH's client")

NAMES = ("n1", "N2.lan", "10.0.0.1", "fe80::1", "gate-a")
PATTERNS = ("n*", "!n1", "*", "n?", "*.lan", "10.*", "gate-a,n1", "N2.lan", "n1", "!*.lan", '"n1"')
VALUES = {
    "HostName": ("%h.lan", "10.0.0.7", "%%h", "UPPER", "%x", '"h x"', "%n"),
    "User": ("bob", "LAB\\bob", '"odd name"', "'a b'", "a b", "%u", "x=y"),
    "Port": ("22", "2222", "022", "99999", "x", "ssh"),
    "IdentityFile": (
        "~/k", "/k/%k", "%d/%r", "${SUB}/k", "${NOT_SET_HERE}", "none", '"/with blank/k"', "/k%%",
        "%i%l%L%u",
    ),
    "CertificateFile": ("/c-%h", "~/c", "none"),
    "IdentitiesOnly": ("yes", "no", "true", "YES", "maybe"),
    "IdentityAgent": ("none", "~/agent", "SSH_AUTH_SOCK", "$SUB", "${SUB}", "/a-%h"),
    "ProxyCommand": ("nc %h %p", "none", "sh -c 'nc ${W:-3} %%h'", "nc # x", '"nc" %n %r %k', "nc %q"),
    "ProxyJump": ("a", "b@c:7,d", "none", "%r@gate", "ssh://u@g:3", "gate # comment", "a b"),
    "UserKnownHostsFile": ("/u1 /u2", "none", "~/kh/%k", "/dev/null", "none /x", "${SUB}/k%h"),
    "GlobalKnownHostsFile": ("/g", "none", "/g1 /g2"),
    "HostKeyAlias": ("Alias", "%h", "a b"),
    "HashKnownHosts": ("yes", "no"),
    "AddressFamily": ("any", "inet", "inet6", "inet7"),
    "BindAddress": ("10.0.0.9",),
    "TCPKeepAlive": ("no", "yes", "off"),
    "StrictHostKeyChecking": ("no", "accept-new", "off", "yes", "ask", "sometimes"),
    "ConnectTimeout": ("7", "1m30", "2h", "none", "x", "0"),
    "RevokedHostKeys": ("/krl", "none"),
    "ControlPath": ("~/.ssh/cm-%r@%h:%p", "none", "${SUB}/c%%"),
    "KnownHostsCommand": ("/bin/echo %H", "none"),
    "GSSAPIAuthentication": ("yes", "no"),
    "HostbasedAuthentication": ("yes", "no"),
    "PKCS11Provider": ("/lib/p.so", "none"),
    "ProxyUseFdpass": ("yes", "no"),
    "VerifyHostKeyDNS": ("yes", "no", "ask"),
    "Ciphers": ("aes128-ctr", "+aes128-cbc", "nonsense"),
    "ForwardAgent": ("yes", "no", "True", "~/agent", "$SUB", "${SUB}", "/a-%h"),
    "SetEnv": ("A=b", "A=b 'B=c d' A=e", "A", "=x"),
    "SendEnv": ("LANG LC_*", "-LC_*", "X"),
    "IgnoreUnknown": ("Frob*", "UseKeychain,Frobnicate"),
    "Frobnicate": ("yes",),
    "Compression": ("yes",),
    "Include": ("more", '"more"', "none-*", "more other # both", "~nobody-here/x"),
}  # fmt: skip
CONDITIONS = (
    "all", "host n*", "!host n1", "originalhost=n1", "user bob", "!user bob", "localuser root", "final",
    "!final", "canonical", "exec true", '!exec "test %h = n1"', "exec 'false'", 'exec "test x = %n"',
    "host *.lan", 'host "n1"', "host", "sometimes x", "localnetwork 127.0.0.0/8",
)  # fmt: skip
ENDS = st.sampled_from(("", "", "", "  ", " # comment", "\t#x", "\r", "\f"))
SEPARATORS = st.sampled_from((" ", " ", "\t", "=", " = ", "  "))


@st.composite
def lines(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        keyword, value = (
            "Host",
            " ".join(draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3))),
        )
    elif kind == 1:
        keyword, value = (
            "Match",
            " ".join(draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3))),
        )
    elif kind == 2:
        return draw(
            st.sampled_from(
                ("", "# comment", "  # Universit\udce9", '"User" quoted', "User", 'User "a')
            )
        )
    else:
        keyword = draw(st.sampled_from(tuple(VALUES)))
        value = draw(st.sampled_from(VALUES[keyword]))
    written = draw(st.sampled_from((keyword, keyword.lower(), keyword.upper())))
    return draw(st.sampled_from(("", " ", "\t"))) + written + draw(SEPARATORS) + value + draw(ENDS)


def text(most: int) -> st.SearchStrategy[str]:
    return st.lists(lines(), max_size=most).map(lambda found: "\n".join(found) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files; `~` is that of ssh, and ${SUB} is set."""
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setenv("SUB", "/sub")
    monkeypatch.setenv("SHELL", "/bin/sh")
    return tmp_path


async def resolved(resolver: Resolver, host: Host) -> Target | None:
    """Return the target; None if it is refused."""
    try:
        async with resolver:
            return _comparable(await resolver.resolve(host))
    except ConfigParseError:
        return None


def reader(files: tuple[Path, ...]) -> Resolver:
    """Return a resolver that reads the files itself."""
    resolver = Resolver(files)
    resolver.openssh = None
    return resolver


def is_certain(file: Path, host: Host) -> bool:
    try:
        ConfigReader((file,), strict=True).read(host.address, host.user, host.port)
    except Unsure:
        return False
    except ConfigParseError:
        return True
    return True


def _comparable(target: Target) -> Target:
    """Return `target` without what `ssh -G` does not print as it is written."""
    return replace(
        target,
        accept_new="somewhere" if target.accept_new else None,
        ciphers=None,
        proxy_jump=re.sub(r"ssh://|[][]", "", target.proxy_jump or ""),
        unused=(),
        not_sent=tuple(each.split()[0] for each in target.not_sent),
        dropped=tuple(each.split()[0] for each in target.dropped),
        login_by_openssh=tuple(each.split()[0] for each in target.login_by_openssh),
        needs_openssh=tuple(each.split()[0] for each in target.needs_openssh),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=text(8),
    more=text(3),
    other=text(2),
    name=st.sampled_from(NAMES),
    user=st.sampled_from((None, "bob")),
)
def test_reader_and_ssh_agree_about_any_configuration(
    folder: Path, config: str, more: str, other: str, name: str, user: str | None
) -> None:
    for name_of_file, content in (("config", config), ("more", more), ("other", other)):
        content = re.sub(r"(?i)(proxyjump[\s=]+none)\s+#.*", r"\1", content)
        written = re.sub("(more|other)", rf"{folder}/\1", content)
        (folder / name_of_file).write_bytes(os.fsencode(written))
        (folder / name_of_file).chmod(0o600)
    host = Host(name="n", address=name, user=user)
    file = folder / "config"

    own = asyncio.run(resolved(reader((file,)), host))
    asked = reader((file,))
    asked.openssh = Openssh(SSH, ("-F", str(file)))
    asked._own[host.address, host.user, host.port] = None
    by_ssh = asyncio.run(resolved(asked, host))
    if by_ssh is not None or is_certain(file, host):
        assert own == by_ssh
