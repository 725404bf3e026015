"""A lab as a value: run commands in its hosts, look at them, do them harm.

Hosts share this machine's files read-only; home, /tmp, /var/tmp, /run and /dev/shm are their own.
The controller's side, `ctl`, has this machine's files as they are, and a network of its own.
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

START_WAIT = 60.0
END_WAIT = 30.0
# What sshd's listening process calls itself, as against one that serves a login.
LISTENER = "sshd: /usr/sbin/sshd -D -e [listener]"

# What was started in labs from here: must be reaped here before a PID namespace can end.
_children: WeakSet[subprocess.Popen[bytes]] = WeakSet()


class LabError(Exception):
    """The lab cannot do what was asked; one line says why."""


@dataclass(eq=False)
class Lab:
    """A running lab. `pids` are the processes 1 of its hosts, and of `ctl`, as seen from here."""

    name: str
    dir: Path
    nodes: list[str]
    pids: dict[str, int]

    @property
    def inventory(self) -> Path:
        """An inventory of all the hosts."""
        return self.dir / "hosts.yaml"

    @property
    def home(self) -> Path:
        """The home directory of a controller: its .ssh has the key and knows the hosts."""
        return self.dir / "home"

    @property
    def env(self) -> dict[str, str]:
        """The environment of a controller's command; nothing of the caller's but PATH and TERM."""
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), build.PATH]
        return _environment(str(self.home), os.pathsep.join(filter(None, path)))

    def address(self, node: str) -> str:
        """The address of a node, or of `ctl`, on the network that joins them."""
        return network.address(-1 if node == "ctl" else self._index(node))

    def files(self, node: str) -> Path:
        """A node's own files as seen from here: home/, tmp/, run/, sshd.log."""
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
        """Run a command inside and wait for it; output is UTF-8, bytes that are not are escaped.

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
    ) -> subprocess.Popen[bytes]:
        """Start a command inside; signals sent to it reach the command itself.

        `options` are those of subprocess.Popen for bytes. `cwd` is a path inside: on a node the
        home directory unless given, for `ctl` the caller's own.
        """
        pid = self.pid(node)
        usual = self.env if node == "ctl" else _environment(build.HOME, build.PATH)
        place = cwd or (Path.cwd() if node == "ctl" else build.HOME)
        # nsenter and env both become what they start, so that the process stays the same.
        enter = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net"]
        command = [*enter, "env", f"--chdir={place}", *map(str, argv)]
        with kernel.joined(f"/proc/{pid}/ns/pid", "/proc/thread-self/ns/pid", kernel.NEW_PID):
            process = subprocess.Popen(command, env={**usual, **(env or {})}, **options)
        _children.add(process)
        return process

    def processes(self, node: str) -> list[processes.Process]:
        """Every process of a node, its process 1 too; none of a node that has vanished."""
        pid = self._alive(node)
        return [] if pid is None else processes.same_namespace(pid, "pid")

    def vanish(self, node: str) -> None:
        """Pull a node's plug: all its processes end at once, and its peers hear just silence."""
        pid = self.pid(node)
        # First the link: ending processes say farewell on their connections.
        network.configure(self.pid("ctl"), network.unplug_commands(self._index(node)))
        kill([init for init in processes.inits(self.name) if init.pid == pid])

    def restart_sshd(self, node: str) -> None:
        """Start a node's sshd again, or again when it died; open logins continue."""
        before = self.sshd_pid(node)
        os.kill(self.pid(node), signal.SIGHUP)
        self.wait_for_sshd(node, other_than=before)

    def sshd_pid(self, node: str) -> str:
        """The id of a node's sshd as the node sees it; empty when none ever listened."""
        with suppress(FileNotFoundError):
            return (self.files(node) / "run" / "sshd.pid").read_text().strip()
        return ""

    def wait_for_sshd(self, node: str, *, other_than: str = "") -> None:
        """Wait until a node's sshd, not the one with id `other_than`, listens."""
        # sshd writes its id when it listens, not before.
        deadline = time.monotonic() + START_WAIT
        while self.sshd_pid(node) in ("", other_than):
            if self._alive(node) is None or time.monotonic() > deadline:
                raise LabError(f"sshd of {node} does not listen: {last_words(self.files(node))}")
            time.sleep(0.005)

    def state(self, node: str) -> str:
        """Say how a node is, in two or three words."""
        found = self.processes(node)
        if not found or node == "ctl":
            return "up" if found else "vanished"
        listening = any(process.argv[0].startswith(LISTENER) for process in found if process.argv)
        return "up" if listening else "up, without sshd"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread in the controller's network, so that its sockets are made there.

        Only the network: files and names stay this machine's, so connect to addresses. A thread
        that is started meanwhile is in the lab for good.
        """
        with network.joined(self.pid("ctl")):
            yield

    def pid(self, node: str) -> int:
        """The id of a node's process 1 as seen from here; LabError when it has vanished."""
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
    """Kill processes 1 and wait for the end of all that runs in their hosts."""

    def reap() -> None:
        for child in list(_children):
            child.poll()

    if left := processes.kill(inits, wait=END_WAIT, meanwhile=reap):
        names = ", ".join(init.node for init in left)
        raise LabError(f"{names} did not end in {END_WAIT:.0f} s")


def last_words(files: Path) -> str:
    """The last line that a host's process 1 or its sshd wrote."""
    for log in ("host.log", "sshd.log"):
        with suppress(FileNotFoundError):
            lines = (files / log).read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
    return "it left no word"


def _environment(home: str, path: str) -> dict[str, str]:
    """What a login gives a command."""
    return {
        "HOME": home,
        "PATH": path,
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
    }
