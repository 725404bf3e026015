"""What can set this host's clock."""

from __future__ import annotations

import os
from typing import Any, Dict

from . import command, read

_PROGRAMS = ("chronyc", "apt-get", "dnf")
_SERVICES = ("chrony", "chronyd", "ntp", "ntpd", "ntpsec", "systemd-timesyncd")
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def clock(root: str = "/") -> Dict[str, Any]:
    """Return {"systemd", "programs", "services"}: what of those that mend a clock is there.

    `systemd` tells whether it runs here: in most containers it does not, and the clock is the host's.
    """
    return {
        "systemd": os.path.isdir(read.below(root, "/run/systemd/system")),
        "programs": [name for name in _PROGRAMS if command.find(name)],
        "services": [
            name
            for name in _SERVICES
            # One that is masked is a link to /dev/null, which is no file.
            if any(os.path.isfile(_unit(root, folder, name)) for folder in _UNITS)
        ],
    }


def _unit(root: str, folder: str, name: str) -> str:
    return read.below(root, "{}/{}.service".format(folder, name))
