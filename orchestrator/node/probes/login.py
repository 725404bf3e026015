"""What a login on this host is given, and what happens when it ends: start-up files and logind."""

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

_CONFIG = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_SESSION = re.compile(r"/session-[^/]+\.scope(/|\Z)")
_TRUE = ("1", "yes", "y", "true", "t", "on")
_NAMES = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
_SETTING = re.compile(r"(#?)\s*({})\s*=\s*(.*)".format("|".join(_NAMES)))


def startup(noise: List[str], root: str = "/", home: Optional[str] = None) -> List[Any]:
    """Return, for each line of `noise`, {"path", "number", "line"} of what likely prints it, or null.

    It is the line of a start-up file that has most words in common with it.
    """
    home = os.path.expanduser("~") if home is None else home
    paths = [path.replace("~", home, 1) for path in _STARTUP]
    paths += [os.path.join(_PROFILE, name) for name in read.names(root, _PROFILE)]
    found: List[Any] = []
    lines = [
        (path, number, line.strip())
        for path in paths
        for number, line in enumerate((read.text(root, path) or "").split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    for said in noise:
        words = set(_WORD.findall(said))
        best = max(lines, key=lambda entry: _alike(words, entry[2]), default=None)
        if best is None or not _alike(words, best[2]):
            found.append(None)
        else:
            found.append({"path": best[0], "number": best[1], "line": best[2][:200]})
    return found


def _alike(words: Any, line: str) -> int:
    return len(words.intersection(_WORD.findall(line)))


def linger(root: str = "/", user: Optional[str] = None) -> Dict[str, Any]:
    """Return {"systemd", "session", "user", "kill", "only", "exclude", "linger"}.

    `session` tells whether this process is in the scope of a logind session, the only processes that
    logind ends at logout; `kill` is KillUserProcesses (null: the built-in default, nowhere written),
    `only` and `exclude` the lists of users beside it (logind.conf(5)).
    """
    user = read.user(os.getuid()) if user is None else user
    settings: Dict[str, Any] = {
        "KillUserProcesses": None,
        "KillOnlyUsers": [],
        "KillExcludeUsers": None,
    }
    main = next(
        (text for text in (read.text(root, d + "/logind.conf") for d in _CONFIG) if text), ""
    )
    _apply(settings, main, defaults=True)
    dropins: Dict[str, str] = {}
    for folder in reversed(_CONFIG):  # of files of one name the one in /etc counts
        place = folder + "/logind.conf.d"
        dropins.update({n: place for n in read.names(root, place) if n.endswith(".conf")})
    for name in sorted(dropins):
        _apply(settings, read.text(root, os.path.join(dropins[name], name)) or "")
    exclude = settings["KillExcludeUsers"]
    cgroups = (read.text(root, "/proc/self/cgroup") or "").split("\n")
    return {
        "systemd": os.path.isdir(read.below(root, "/run/systemd/system")),
        "session": any(_SESSION.search(line) for line in cgroups),
        "user": user,
        "kill": settings["KillUserProcesses"],
        "only": settings["KillOnlyUsers"],
        "exclude": ["root"] if exclude is None else exclude,
        "linger": os.path.exists(read.below(root, "/var/lib/systemd/linger/" + user)),
    }


def _apply(settings: Dict[str, Any], text: str, defaults: bool = False) -> None:
    """Take in one file; what is commented out in a distribution's own file is the built-in default."""
    for line in text.split("\n"):
        match = _SETTING.match(line.strip())
        if match is None or (match.group(1) and not (defaults and match.group(2) == _NAMES[0])):
            continue
        name, value = match.group(2), match.group(3).strip()
        if name == _NAMES[0]:
            settings[name] = value.lower() in _TRUE
        else:
            settings[name] = (settings[name] or []) + value.split() if value else []
