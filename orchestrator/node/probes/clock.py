"""What can set this host's clock."""

from __future__ import annotations

import os
from typing import Any, Dict

from . import read

_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
_PROGRAMS = ("chronyc", "ntpd", "timedatectl", "apt-get", "dnf")
_SERVICES = ("chrony", "chronyd", "ntp", "ntpd", "ntpsec", "systemd-timesyncd")
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def clock(root: str = "/", path: str = _PATH) -> Dict[str, Any]:
    """Return {"systemd", "programs", "services"}: what of those that mend a clock is there.

    `systemd` tells whether it runs here: in most containers it does not, and the clock is the host's.
    """
    return {
        "systemd": os.path.isdir(read.below(root, "/run/systemd/system")),
        "programs": [
            name
            for name in _PROGRAMS
            if any(os.access(os.path.join(folder, name), os.X_OK) for folder in path.split(":"))
        ],
        "services": [
            name
            for name in _SERVICES
            # One that is masked is a link to /dev/null, which is no file.
            if any(os.path.isfile(_unit(root, folder, name)) for folder in _UNITS)
        ],
    }


def _unit(root: str, folder: str, name: str) -> str:
    return read.below(root, "{}/{}.service".format(folder, name))
