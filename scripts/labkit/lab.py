"""A running lab: run commands in its hosts, inspect them, break them.

Hosts share this machine's files read-only, with their own home, /tmp, /var/tmp, /run and /dev/shm. The
controller, `ctl`, has this machine's files as they are, and a separate network.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

from labkit import build, kernel, network, processes
from labkit.errors import LabError as LabError

START_TIMEOUT = 60.0
END_TIMEOUT = 30.0
# The title of the listening process of sshd, unlike those that serve a login.
LISTENER = "sshd: /usr/sbin/sshd -D -e [listener]"

# Processes started in labs: they must be reaped here before a PID namespace can end.
_children: WeakSet[subprocess.Popen[bytes]] = WeakSet()


class Child(subprocess.Popen[bytes]):
    """A process whose `with` block kills it on an exception, and otherwise waits for it."""

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *error)


@dataclass(eq=False)
class Lab:
    """A running lab. `pids` are the ids of process 1 of its hosts, and of `ctl`, on this machine."""

    name: str
    dir: Path
    nodes: list[str]
    pids: dict[str, int]

    @property
    def inventory(self) -> Path:
        """The inventory of all hosts."""
        return self.dir / "hosts.yaml"

    @property
    def home(self) -> Path:
        """The home directory of the controller: its .ssh has the key and the host keys."""
        return self.dir / "home"

    @property
    def env(self) -> dict[str, str]:
        """The environment of commands on the controller; only PATH and TERM are from the caller."""
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), build.PATH]
        return _environment(str(self.home), os.pathsep.join(filter(None, path)))

    def address(self, node: str) -> str:
        """Return the address of a node, or of `ctl`, on their common network."""
        return network.address(-1 if node == "ctl" else self._index(node))

    def files(self, node: str) -> Path:
        """Return the path of a node's own files on this machine: home/, tmp/, run/, sshd.log."""
        return self.dir / "hosts" / node

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        node: str = "ctl",
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run has it
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the lab and wait for it; output is decoded as UTF-8 with surrogateescape.

        `env` is added to the usual environment. Raises subprocess.TimeoutExpired.
        """
        given = input.encode(errors="surrogateescape") if isinstance(input, str) else input
        stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
        pipe = subprocess.PIPE
        with self.popen(
            argv, node=node, env=env, cwd=cwd, stdin=stdin, stdout=pipe, stderr=pipe
        ) as process:
            try:
                out, err = process.communicate(given, timeout)
            except BaseException:
                process.kill()
                raise
        texts = [data.decode(errors="surrogateescape") for data in (out, err)]
        return subprocess.CompletedProcess(list(map(str, argv)), process.returncode, *texts)

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        node: str = "ctl",
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> Child:
        """Start a command in the lab; signals sent to it reach the command itself.

        `options` are those of subprocess.Popen for bytes. `cwd` is a path in the lab: by default the home
        directory on a node, and the caller's own on `ctl`.
        """
        pid = self.pid(node)
        usual = self.env if node == "ctl" else _environment(build.HOME, build.PATH)
        place = cwd or (Path.cwd() if node == "ctl" else build.HOME)
        # nsenter and env replace themselves by the command, so that the process stays the same.
        enter = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net"]
        command = [*enter, "env", f"--chdir={place}", *map(str, argv)]
        with kernel.joined(f"/proc/{pid}/ns/pid", "/proc/thread-self/ns/pid", kernel.NEW_PID):
            process = Child(command, env={**usual, **(env or {})}, **options)
        _children.add(process)
        return process

    def processes(self, node: str) -> list[processes.Process]:
        """Return all processes of a node, with process 1; none of a node that has vanished."""
        pid = self._alive(node)
        return [] if pid is None else processes.same_namespace(pid, "pid")

    def vanish(self, node: str) -> None:
        """Power off a node: all its processes end at once, and its peers get no answer."""
        pid = self.pid(node)
        # First the link: processes that end would close their connections.
        network.configure(self.pid("ctl"), network.unplug_commands(self._index(node)))
        kill([init for init in processes.inits(self.name) if init.pid == pid])

    def restart_sshd(self, node: str) -> None:
        """Restart the sshd of a node, or start it if it died; open logins are kept."""
        before = self.sshd_pid(node)
        os.kill(self.pid(node), signal.SIGHUP)
        self.wait_for_sshd(node, other_than=before)

    def sshd_pid(self, node: str) -> str:
        """Return the id of the sshd of a node in its PID namespace; empty if none ever listened."""
        with suppress(FileNotFoundError):
            return (self.files(node) / "run" / "sshd.pid").read_text().strip()
        return ""

    def wait_for_sshd(self, node: str, *, other_than: str = "") -> None:
        """Wait until an sshd of a node listens that does not have the id `other_than`."""
        # sshd writes its id once it listens.
        deadline = time.monotonic() + START_TIMEOUT
        while self.sshd_pid(node) in ("", other_than):
            if self._alive(node) is None or time.monotonic() > deadline:
                raise LabError(f"sshd of {node} does not listen: {last_line(self.files(node))}")
            time.sleep(0.005)

    def state(self, node: str) -> str:
        """Return the state of a node in a few words."""
        found = self.processes(node)
        if not found or node == "ctl":
            return "up" if found else "vanished"
        listening = any(process.argv[0].startswith(LISTENER) for process in found if process.argv)
        return "up" if listening else "up, without sshd"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread to the network of the controller, so that it creates sockets there.

        Files and names stay those of this machine, so connect to addresses. A thread that is started
        during that time stays in the lab.
        """
        with network.joined(self.pid("ctl")):
            yield

    def pid(self, node: str) -> int:
        """Return the id of process 1 of a node on this machine. Raises LabError if it has vanished."""
        if node not in self.pids:
            raise LabError(f"lab {self.name} has no node {node}: it has {', '.join(self.pids)}")
        pid = self._alive(node)
        if pid is None:
            raise LabError(f"{node} of lab {self.name} has vanished")
        return pid

    def _alive(self, node: str) -> int | None:
        expected = processes.Init(self.pids[node], self.name, self.dir, node)
        return expected.pid if processes.init(expected.pid) == expected else None

    def _index(self, node: str) -> int:
        return self.nodes.index(node)


def kill(inits: Sequence[processes.Init]) -> None:
    """Kill process 1 of hosts, and wait for the end of all their processes."""

    def reap() -> None:
        for child in list(_children):
            child.poll()

    if left := processes.kill(inits, wait=END_TIMEOUT, meanwhile=reap):
        names = ", ".join(init.node for init in left)
        raise LabError(f"{names} did not end in {END_TIMEOUT:.0f} s")


def last_line(files: Path) -> str:
    """Return the last line in the logs of process 1 or sshd of a host."""
    for log in ("host.log", "sshd.log"):
        with suppress(FileNotFoundError):
            lines = (files / log).read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
    return "its logs are empty"


def _environment(home: str, path: str) -> dict[str, str]:
    """Return the environment that a login has."""
    return {
        "HOME": home,
        "PATH": path,
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
    }
