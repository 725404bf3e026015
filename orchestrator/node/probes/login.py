"""What a login on this host gets, and what happens when it ends: start-up files, variables, logind."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from . import read

# Read by non-interactive shells, or by sshd for every login; the user's own first.
_STARTUP = (
    "~/.bashrc", "~/.bash_aliases", "~/.zshenv", "~/.cshrc", "~/.tcshrc", "~/.config/fish/config.fish",
    "~/.ssh/rc", "~/.profile", "~/.bash_profile",
    "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh/zshenv", "/etc/zshenv", "/etc/csh.cshrc", "/etc/ssh/sshrc",
)  # fmt: skip
_PROFILE = "/etc/profile.d"
_WORD = re.compile(r"\w{3,}")

# Variables of NCCL, gloo, torch, libfabric, UCX and OpenMP that affect communication.
_COMMUNICATION = re.compile(
    r"(?:NCCL|GLOO|TORCH|TORCHELASTIC|PET|FI|UCX|OMP|KMP)_[A-Z0-9_]+\Z|CUDA_VISIBLE_DEVICES\Z"
)
_MAX_VARIABLES = 300
_MAX_VALUE = 500  # characters

_CONFIG = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_SESSION = re.compile(r"/session-[^/]+\.scope(/|\Z)")
_TRUE = ("1", "yes", "y", "true", "t", "on")
_NAMES = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
_SETTING = re.compile(r"(#?)\s*({})\s*=\s*(.*)".format("|".join(_NAMES)))


def startup(noise: List[str], root: str = "/", home: Optional[str] = None) -> List[Any]:
    """Return, for each line of `noise`, {"path", "number", "line"} of what probably prints it, or null.

    It is the line of a start-up file that has the most words in common with it.
    """
    home = os.path.expanduser("~") if home is None else home
    paths = [path.replace("~", home, 1) for path in _STARTUP]
    paths += [os.path.join(_PROFILE, name) for name in read.names(root, _PROFILE)]
    lines = [
        (path, number, line.strip())
        for path in paths
        for number, line in enumerate(read.lines(root, path), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    found: List[Any] = []
    for printed in noise:
        words = set(_WORD.findall(printed))
        common = [len(words.intersection(_WORD.findall(line))) for _, _, line in lines]
        if not any(common):
            found.append(None)
            continue
        path, number, line = lines[common.index(max(common))]
        found.append({"path": path, "number": number, "line": line[:200]})
    return found


def variables() -> Dict[str, str]:
    """Return {name: value} of the login's variables that affect communication."""
    names = sorted(filter(_COMMUNICATION.match, os.environ))
    return {name: os.environ[name][:_MAX_VALUE] for name in names[:_MAX_VARIABLES]}


def linger(root: str = "/", user: Optional[str] = None) -> Dict[str, Any]:
    """Return {"systemd", "session", "user", "kill", "only", "exclude", "linger"}.

    `session` is whether this process is in the scope of a logind session, as only those are ended at
    logout; `kill` is KillUserProcesses (null: the built-in default, which is not in any file), `only` and
    `exclude` are the lists of users for it (logind.conf(5)).
    """
    user = read.user(os.getuid()) if user is None else user
    settings: Dict[str, Any] = dict.fromkeys(_NAMES)
    texts = (read.text(root, folder + "/logind.conf") for folder in _CONFIG)
    _apply(settings, next(filter(None, texts), ""), defaults=True)
    dropins: Dict[str, str] = {}
    for folder in reversed(_CONFIG):  # a file in /etc overrides those with the same name
        place = folder + "/logind.conf.d"
        dropins.update({n: place for n in read.names(root, place) if n.endswith(".conf")})
    for name in sorted(dropins):
        _apply(settings, read.text(root, os.path.join(dropins[name], name)) or "")
    exclude = settings["KillExcludeUsers"]
    cgroups = read.lines(root, "/proc/self/cgroup")
    return {
        "systemd": os.path.isdir(read.below(root, "/run/systemd/system")),
        "session": any(_SESSION.search(line) for line in cgroups),
        "user": user,
        "kill": settings["KillUserProcesses"],
        "only": settings["KillOnlyUsers"] or [],
        "exclude": ["root"] if exclude is None else exclude,
        "linger": os.path.exists(read.below(root, "/var/lib/systemd/linger/" + user)),
    }


def _apply(settings: Dict[str, Any], text: str, defaults: bool = False) -> None:
    """Apply one file; what is commented out in a distribution's own file is the built-in default."""
    for line in text.split("\n"):
        match = _SETTING.match(line.strip())
        if match is None or (match.group(1) and not (defaults and match.group(2) == _NAMES[0])):
            continue
        name, value = match.group(2), match.group(3).strip()
        if name == _NAMES[0]:
            settings[name] = value.lower() in _TRUE
        else:
            settings[name] = (settings[name] or []) + value.split() if value else []
