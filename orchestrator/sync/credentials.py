"""Recognise credentials, which are sent to a node only if an `.orchignore` includes them.

By name: files and folders in which command line tools keep passwords, tokens and keys (from the ignore
templates of GitHub and Docker, and the path rules of secret scanners). By content: private keys.
"""

from __future__ import annotations

import os
import re

_FOLDERS = frozenset(
    {
        b".ssh", b".aws", b".azure", b".gnupg", b".kube", b".oci", b".password-store", b".aliyun",
        b".bluemix", b".minikube", b".snowflake",
    }
)  # fmt: skip
_FILES = frozenset(
    {
        b".netrc", b"_netrc", b".git-credentials", b".pypirc", b".pgpass", b".my.cnf", b".mylogin.cnf",
        b".dockercfg", b".boto", b".s3cfg", b".vault-token", b".terraformrc", b".databrickscfg",
        b".comet.config", b".modal.toml", b".htpasswd", b"rclone.conf", b"kaggle.json",
        b"credentials.tfrc.json", b"application_default_credentials.json",
        b"id_rsa", b"id_dsa", b"id_ecdsa", b"id_ed25519", b"id_ecdsa_sk", b"id_ed25519_sk",
    }
)  # fmt: skip
# Names that count only in these folders.
_WITHIN = {
    b".config": frozenset(
        {b"gcloud", b"gh", b"glab-cli", b"hub", b"rclone", b"op", b"doctl", b"wandb", b"sops"}
    ),
    b".docker": frozenset({b"config.json"}),
    b"containers": frozenset({b"auth.json"}),
    b"git": frozenset({b"credentials"}),
    b".huggingface": frozenset({b"token", b"stored_tokens"}),
    b"huggingface": frozenset({b"token", b"stored_tokens"}),
    b".cargo": frozenset({b"credentials", b"credentials.toml"}),
    b".gem": frozenset({b"credentials"}),
    b".lightning": frozenset({b"credentials.json"}),
}
_KEY_STORES = (b".ppk", b".p12", b".pfx", b".jks", b".keystore", b".kdbx")
_EXAMPLES = (b".example", b".sample", b".template", b".dist", b".defaults")

_KEY_SIZES = range(100, (16 << 10) + 1)  # bytes of a file with a private key
_SERVICE_ACCOUNT_SIZES = range(1000, 8 << 10)  # bytes of a key of a Google service account
# Files with these endings hold no keys, and a training folder may have thousands of them.
_NOT_KEYS = frozenset(
    b".py .pyi .pyx .c .cc .cpp .cu .cuh .h .hpp .js .ts .css .html .sh .md .rst .ipynb .yaml .yml .toml "
    b".jsonl .csv .tsv .jpg .jpeg .png .webp .gif .bmp .npy .npz .pt .pth .ckpt .bin .safetensors .parquet "
    b".arrow .pkl .wav .flac .mp3 .mp4 .so .lock .cfg .ini".split()
)
_KEY = re.compile(
    rb"^-----BEGIN (?:[A-Z0-9 ]{1,30} )?PRIVATE KEY(?: BLOCK)?-----|\APuTTY-User-Key-File-",
    re.MULTILINE,
)
_SERVICE_ACCOUNT = re.compile(rb'"private_key"\s{0,9}:\s{0,9}"-----BEGIN ')
_PACKAGE_TOKEN = re.compile(rb"_auth(?:Token)?\s{0,9}=|_password\s{0,9}=|npmAuthToken")
_TOKEN_FILES = frozenset({b".npmrc", b".yarnrc.yml"})


def is_named_like_one(path: bytes, *, directory: bool) -> bool:
    """Tell whether the entry at `path` (absolute) has a name under which a tool keeps credentials."""
    folder, _, name = path.rpartition(b"/")
    within = _WITHIN.get(folder.rpartition(b"/")[2])
    if within is not None and name in within:
        return True
    if directory:
        return name in _FOLDERS
    return name in _FILES or name.endswith(_KEY_STORES) or _is_environment(name)


def holds_one(path: bytes, size: int) -> bool:
    """Tell whether the file at `path`, of `size` bytes, has a private key or a token of a package registry.

    False if it cannot be read.
    """
    name = path[path.rfind(b"/") + 1 :]
    pattern = _KEY
    if name in _TOKEN_FILES:
        pattern = _PACKAGE_TOKEN
    else:
        ending = name[name.rfind(b".") :].lower() if b"." in name[1:] else b""
        if ending == b".json":
            pattern = _SERVICE_ACCOUNT
        if ending in _NOT_KEYS or size not in _KEY_SIZES:
            return False
        if ending == b".json" and size not in _SERVICE_ACCOUNT_SIZES:
            return False
    start = _read_start(path)
    # Search for a fixed text first: it is 100 times faster and rejects most files.
    if pattern is _KEY and b"PRIVATE KEY" not in start and not start.startswith(b"PuTTY"):
        return False
    return pattern.search(start) is not None


def _is_environment(name: bytes) -> bool:
    """Tell whether it is a file of environment variables, which often contains secrets."""
    if name in (b".env", b".envrc"):
        return True
    return name.startswith(b".env.") and not name.endswith(_EXAMPLES)


def _read_start(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""  # gone or unreadable: rsync cannot read it either
    try:
        return os.read(descriptor, _KEY_SIZES[-1])
    except OSError:
        return b""
    finally:
        os.close(descriptor)
