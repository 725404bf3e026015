"""The home folder of ssh is that of the user database, which a test cannot change for all: a stand-in."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from orchestrator.remote.ssh.openssh_config import Openssh


def be_at_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Have `home` as the home folder of this user in this process.

    The `ssh` of this machine does not know it, so orch resolves hosts by itself.
    """
    entry = list(pwd.getpwuid(os.getuid()))
    own = pwd.struct_passwd([*entry[:5], str(home), entry[6]])
    find = pwd.getpwuid
    patch.setattr(pwd, "getpwuid", lambda uid: own if uid == os.getuid() else find(uid))
    patch.setattr(Openssh, "find", lambda: None)
    patch.setenv("HOME", str(home))
