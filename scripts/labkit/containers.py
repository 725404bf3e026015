"""Containers of Podman or Docker as hosts, with this machine's programs in them.

with Containers("podman", folder) as containers:
    containers.run("a")
    containers.of("a", "hostname").stdout

Podman has its own images, network and state, which vanish at the end; Docker's daemon must run already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

_IMAGE = "orch-test:latest"
_FOLDERS = ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "root", "var")
_LINKS = ("bin", "sbin", "lib", "lib64")
_START_TIMEOUT = 10.0  # seconds

# crun refuses cgroups in hybrid mode. The network, /run and the leases of addresses are of these
# containers only.
_NAMESPACES = """
umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run || exit
mkdir -p /var/lib/cni && mount -t tmpfs none /var/lib/cni && ip link set lo up || exit
echo ready; read -r _
"""


def missing(engine: str) -> str | None:
    """Return why containers of `engine` cannot be started here, in one line; None if they can."""
    if shutil.which(engine) is None:
        return f"{engine} is not installed"
    if os.geteuid() != 0:
        return "containers with this machine's programs need root"
    if engine == "docker":
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False)
        return None if asked.returncode == 0 else "no Docker daemon answers"
    return None


class Containers:
    """The containers of one test, which are removed at the end of the `with` block."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self.names: list[str] = []
        self._folder = folder
        self._command = [engine]
        self._namespaces: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> str:
        """The PATH with which `engine` is the program that has these containers."""
        return f"{self._folder}/bin:{os.environ['PATH']}"

    def __enter__(self) -> Self:
        if self.engine == "podman":
            self._isolate()
        try:
            self._import_image()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, name: str) -> None:
        """Start a container with this name and host name; its /root is its own."""
        shown = {"/usr", str(Path(sys.base_prefix)), str(Path(sys.prefix))}
        mounts = [f"--volume={path}:{path}:ro" for path in sorted(shown)]
        limits = []
        if self.engine == "podman":  # which sets limits that a container here may not have
            limits = ["--cgroups=disabled", "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"]
        self.names.append(name)
        self.call(
            "run", "--detach", f"--name={name}", f"--hostname={name}", *limits, *mounts, _IMAGE,
            "sleep", "infinity",
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Kill and remove a container."""
        self.call(
            "kill", name
        )  # `rm --force` waits for ten seconds: the first process ignores SIGTERM
        self.call("rm", "--force", name)
        self.names.remove(name)

    def of(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return self.call("exec", name, *words)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the engine's program. Raises CalledProcessError if it fails."""
        return subprocess.run(
            [*self._command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=True,
        )  # fmt: skip

    def processes(self, name: str) -> list[str]:
        """Return the command lines of the processes that run in a container, besides its first."""
        script = (
            "for each in /proc/[0-9]*; do "
            "[ $each = /proc/$$ ] || tr '\\0' ' ' <$each/cmdline 2>/dev/null | grep .; done; true"
        )
        return self.of(name, "sh", "-c", script).stdout.splitlines()[1:]

    def _isolate(self) -> None:
        """Start the namespaces of Podman, and write the program that runs it there."""
        self._namespaces = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", _NAMESPACES],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._namespaces.stdout is not None
        if self._namespaces.stdout.readline() != b"ready\n":
            self._end()
            raise OSError("the namespaces of the containers cannot be made")
        enter = ["nsenter", f"--target={self._namespaces.pid}", "--mount", "--net", "--"]
        podman = shutil.which("podman")
        stores = [f"--root={self._folder}/root", f"--runroot={self._folder}/run"]
        program = self._folder / "bin/podman"
        program.parent.mkdir()
        words = " ".join([*enter, f"{podman}", *stores, "--storage-driver=vfs"])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        self._command = [str(program)]

    def _import_image(self) -> None:
        """Make an image that has nothing but empty folders, and links to the programs in /usr."""
        tree, archive = self._folder / "image", self._folder / "image.tar"
        for name in _FOLDERS:
            (tree / name).mkdir(parents=True)
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        shutil.copy("/etc/ld.so.cache", tree / "etc")
        for name in _LINKS:
            (tree / name).symlink_to(f"usr/{name}")
        with tarfile.open(archive, "w") as file:
            file.add(tree, ".")
        self.call("import", str(archive), _IMAGE)

    def _end(self) -> None:
        for words in (["kill", *self.names], ["rm", "--force", *self.names]):
            subprocess.run([*self._command, *words], capture_output=True, timeout=60, check=False)
        if self.engine == "docker":
            self.call("rmi", _IMAGE)
        if self._namespaces is not None:
            self._namespaces.communicate(b"\n", timeout=_START_TIMEOUT)
