"""Credentials are recognised by name and by content, and left out unless an .orchignore names them."""

from __future__ import annotations

import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sync import collect
from orchestrator.sync.credentials import holds_one, is_named_like_one

BY_NAME = [
    ".ssh/id_ed25519", ".ssh/config", ".aws/credentials", ".azure/token.json", ".gnupg/secring.gpg",
    ".kube/config", ".netrc", "_netrc", ".docker/config.json", ".config/gcloud/credentials.db",
    ".config/gh/hosts.yml", ".config/wandb/settings", ".git-credentials", ".config/git/credentials",
    ".pypirc", ".pgpass", ".huggingface/token", ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens", ".config/containers/auth.json", "kaggle.json", "id_rsa",
    "putty.ppk", "server.p12", ".env", ".env.production", ".envrc", ".cargo/credentials.toml",
]  # fmt: skip
HARMLESS = [
    "train.py", "id_rsa.pub", "known_hosts", ".docker/Dockerfile", "config.json", "token",
    ".config/matplotlib/matplotlibrc", ".env.example", ".env.template", "credentials/README", "gh/x",
    "environment.yml", ".cache/huggingface/hub/x",
]  # fmt: skip
PEM = (
    "-----BEGIN {}PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0" * 10 + "\n-----END {}PRIVATE KEY-----\n"
)


def place(root: Path, name: str, content: str = "x\n") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


@pytest.mark.parametrize("below", ["", "deep/er/"])
def test_files_named_like_credentials_are_left_out_in_any_folder(
    tmp_path: Path, below: str
) -> None:
    for name in [*BY_NAME, *HARMLESS]:
        place(tmp_path, below + name)
    tree = collect(tmp_path)
    assert set(tree.files) == {below + name for name in HARMLESS}
    held = [below + name for name in BY_NAME]
    assert all(any(name.startswith(left_out) for left_out in tree.credentials) for name in held)
    assert f"{below}.ssh/" in tree.credentials


def test_folder_named_like_an_environment_file_is_sent(tmp_path: Path) -> None:
    place(tmp_path, ".env/settings.py")
    assert collect(tmp_path).files == (".env/settings.py",)


def test_folder_of_credentials_in_the_named_folder_is_left_out(tmp_path: Path) -> None:
    place(tmp_path, ".config/gcloud/access_tokens.db")
    place(tmp_path, ".docker/config.json")
    assert collect(tmp_path / ".config").files == ()
    assert collect(tmp_path / ".docker").files == ()


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH "])
@pytest.mark.parametrize("name", ["deploy", "deploy.pem", "my.key", "notes.txt"])
def test_private_key_with_any_name_is_left_out(tmp_path: Path, name: str, kind: str) -> None:
    place(tmp_path, name, PEM.format(kind, kind))
    place(tmp_path, "cert.pem", PEM.replace("PRIVATE KEY", "CERTIFICATE").format("", ""))
    place(tmp_path, "deploy.pub", "ssh-ed25519 AAAA" * 20)
    tree = collect(tmp_path)
    assert (tree.files, tree.credentials) == (("cert.pem", "deploy.pub"), (name,))


def test_private_key_after_a_certificate_is_left_out(tmp_path: Path) -> None:
    place(tmp_path, "both.pem", PEM.replace("PRIVATE KEY", "CERTIFICATE").format("", "")
          + PEM.format("", ""))  # fmt: skip
    assert collect(tmp_path).credentials == ("both.pem",)


def test_key_of_ssh_keygen_is_left_out(tmp_path: Path) -> None:
    key = tmp_path / "cluster"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert collect(tmp_path).files == ("cluster.pub",)


def test_keys_of_other_tools_are_left_out(tmp_path: Path) -> None:
    account = (
        '{"type": "service_account", "x": "' + "y" * 1500 + '",\n "private_key": "-----BEGIN P"}'
    )
    place(tmp_path, "gcp.json", account)
    place(tmp_path, "putty", "PuTTY-User-Key-File-2: ssh-rsa\n" + "A" * 200)
    place(tmp_path, "ring.asc", PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK").format("", ""))
    place(tmp_path, ".npmrc", "//registry.npmjs.org/:_authToken=npm_x\n")
    place(tmp_path, "web/.npmrc", "save-exact=true\n")
    tree = collect(tmp_path)
    assert tree.files == ("web/.npmrc",)
    assert tree.credentials == (".npmrc", "gcp.json", "putty", "ring.asc")


def test_line_of_orchignore_includes_one_credential_only(tmp_path: Path) -> None:
    place(tmp_path, ".orchignore", "!.aws/\n!deploy.pem\n!/.env\n")
    for name in (".aws/credentials", ".aws/sso/x.json", ".netrc", ".env"):
        place(tmp_path, name)
    place(tmp_path, ".aws/key", PEM.format("", ""))
    place(tmp_path, "deploy.pem", PEM.format("", ""))
    place(tmp_path, "other.pem", PEM.format("", ""))
    tree = collect(tmp_path)
    assert tree.files == (
        ".aws/credentials", ".aws/key", ".aws/sso/x.json", ".env", ".orchignore", "deploy.pem",
    )  # fmt: skip
    assert tree.credentials == (".netrc", "other.pem")


@pytest.mark.parametrize("line", ["!*", "!**", "!*/", "!**/*"])
def test_catch_all_line_includes_no_credential(tmp_path: Path, line: str) -> None:
    place(tmp_path, ".orchignore", f"*.log\n{line}\n")
    place(tmp_path, ".ssh/id_rsa")
    place(tmp_path, ".netrc")
    assert collect(tmp_path).files == (".orchignore",)


def test_line_of_gitignore_includes_no_credential(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "!.ssh/\n!.netrc\n!.env\n")
    for name in (".ssh/config", ".netrc", ".env"):
        place(tmp_path, name)
    assert collect(tmp_path).files == (".gitignore",)


def test_ignored_credentials_are_not_listed(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", ".env\n.ssh/\n")
    place(tmp_path, ".env")
    place(tmp_path, ".ssh/config")
    assert collect(tmp_path).credentials == ()


def test_file_that_cannot_be_opened_holds_no_key(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    assert not holds_one(bytes(tmp_path / "link"), 400)
    assert not holds_one(bytes(tmp_path / "gone"), 400)


@given(
    st.lists(st.text(string.ascii_letters + "._-", min_size=1, max_size=8), min_size=1, max_size=4)
)
def test_only_known_folder_names_matter(parts: list[str]) -> None:
    path = "/".join(parts).encode()
    for directory in (False, True):
        expected = is_named_like_one(b"/a/b/" + path, directory=directory)
        assert is_named_like_one(b"/" + path, directory=directory) == expected
