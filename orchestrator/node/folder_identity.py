"""Tell a working folder from those of other nodes, without asking them."""

from __future__ import annotations

import os

from .probes.mounts import mount_of, mounts

# Those that no two machines have mounted at the same time.
_LOCAL = frozenset(["btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"])


def identity(folder: str) -> str:
    """Return a text that no other node's folder has unless it may be the same; "" if that is unknown.

    Two nodes may be containers on one machine with one folder: then the texts are equal. They can also be
    equal by accident, on virtual machines that were copied while they ran.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        path = os.path.realpath(folder)
        path.encode()  # mount points are text: a name that is none is not found among them
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    mount = mount_of(path, mounts())
    device = "{:d}:{:d}".format(os.major(status.st_dev), os.minor(status.st_dev))
    # Otherwise another mount, of which we do not know, is between it and the folder.
    if mount is None or mount.device != device or mount.kind not in _LOCAL or not boot:
        return ""
    return "{} {:d} {:d}".format(boot, status.st_dev, status.st_ino)
