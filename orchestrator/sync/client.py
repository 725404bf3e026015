"""Run rsync on this machine, with orch in place of ssh.

rsync connects to a node through a program, usually `ssh`, that it starts with the remote command as
arguments and the stream on standard input and output. Here that program is a line of shell: two `cat`
between rsync and two pipes that it inherits from orch. Nothing listens on a port, and no interpreter has to
start.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.errors import SyncError
from orchestrator.sync.failure import PUSH
from orchestrator.sync.pipe import Pipe
from orchestrator.sync.tree import LEFTOVERS, Tree
from orchestrator.util.text import first_line, printable

SERVER = ("rsync", "--server")
"""The start of the command that rsync may run on a node."""

_MAX_OUTPUT = 64 << 10  # bytes kept from the end of rsync's messages
_KILL_TIMEOUT = 5.0  # seconds
_MIN_VERSION = (3, 1, 3)  # the first with --modify-window=-1

_OPTIONS = (
    "--links",
    "--perms",
    "--times",
    # Compare times to the nanosecond: a script may be rewritten within a second, with the same size.
    "--modify-window=-1",
    # Existing folders on the node keep their modes and times, and may be symbolic links.
    "--no-implied-dirs",
    "--omit-dir-times",
    "--keep-dirlinks",
    "--sparse",
    "--from0",
    "--files-from=-",
    "--ignore-missing-args",  # files that are gone since the folder was read
    # The destination is sent in the protocol, not through a shell.
    "--protect-args",
    # A file gets its name once it is complete; the next push resumes.
    f"--partial-dir={LEFTOVERS}",
    "--stats",
    "--no-human-readable",
    # No --compress: on a fast network rsync's own compression is the bottleneck.
)

# $0 and $1 are the inherited ends. First the argument count and the arguments are written to orch; then one
# cat carries rsync's bytes to orch. The other replaces the shell and carries those from orch; when it ends,
# rsync sees the end of the connection. Their own errors do not matter, so stderr is closed. (A shell gives
# a background command no standard input, so 3 is used; dash knows no descriptors beyond 9.)
_RELAY = (
    'w=$1; shift; exec 2>/dev/null 3<&0; { printf "%s\\0" $# "$@"; exec cat <&3 3<&-; } '
    ">/dev/fd/$w & exec cat </dev/fd/$0 3<&-"
)


@dataclass(frozen=True)
class Finished:
    """How rsync on this machine ended: its exit code (-N: by signal N) and the end of its output."""

    code: int
    stdout: bytes
    stderr: bytes


class Client:
    """A running rsync: first read its `command` for the node, then relay bytes both ways."""

    def __init__(self, process: asyncio.subprocess.Process, up: Pipe, down: Pipe) -> None:
        self._process = process
        self._up = up
        self._down = down
        self._read_ahead = b""

    async def command(self, expected: Sequence[str] = SERVER) -> list[str] | None:
        """Return the arguments of the command for the node; None if rsync ended before that.

        Raises SyncError if it does not start with the `expected` words.
        """
        data = b""
        while True:
            count, *words = data.split(b"\0")
            if words and len(words) > int(count):
                break
            piece = await self._up.read()
            if not piece:
                return None
            data += piece
        used = len(count) + 1 + sum(len(word) + 1 for word in words[: int(count)])
        self._read_ahead = data[used:]
        _host, *command = map(os.fsdecode, words[: int(count)])
        if command[: len(expected)] != list(expected):
            raise SyncError(
                f"rsync requested an unexpected command on the node: {printable(str(command))}"
            )
        return command

    async def read(self) -> bytes:
        """Return bytes for the node; b"" once rsync and the relay have ended."""
        piece, self._read_ahead = self._read_ahead, b""
        return piece or await self._up.read()

    async def write(self, data: bytes) -> None:
        """Pass on bytes from the node. Raises BrokenPipeError if rsync has ended."""
        await self._down.write(data)

    def write_eof(self) -> None:
        """Signal that the node has closed the stream."""
        self._down.close()

    async def finished(self) -> Finished:
        """Wait for rsync to end."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        stdout, stderr, code = await asyncio.gather(
            _tail(self._process.stdout), _tail(self._process.stderr), self._process.wait()
        )
        return Finished(code, stdout, stderr)


@asynccontextmanager
async def sending(tree: Tree, destination: str, *, update: bool = False) -> AsyncIterator[Client]:
    """Run rsync to send `tree` into `destination`; see `running`.

    With `update`, a file that is newer there is kept.
    """
    options = [*_OPTIONS, *(["--update"] if update else [])]
    if tree.repeated:  # needs a table of all files, and hard links on the node's file system
        options.append("--hard-links")
    async with running(options, f"{tree.root}/", f"node:{destination}/", tree.listing) as client:
        yield client


@asynccontextmanager
async def running(
    options: Sequence[str],
    source: str,
    destination: str,
    listing: bytes,
    *,
    max_file_size: int | None = None,
) -> AsyncIterator[Client]:
    """Run rsync with `listing` as its standard input; `source` or `destination` is `node:PATH`.

    On Linux it writes no file of more than `max_file_size` bytes. At the end of the context, rsync and its
    processes are terminated; rsync keeps what has arrived. Raises SyncError if this
    machine has no suitable rsync.
    """
    with ExitStack() as stack:
        up = stack.enter_context(closing(Pipe(to_child=False)))
        down = stack.enter_context(closing(Pipe(to_child=True)))
        process = await asyncio.create_subprocess_exec(
            local_rsync().path,
            *options,
            # Otherwise rsync gives the relay a non-blocking pipe, and `cat` fails once it is full.
            "--blocking-io",
            f"--rsh=/bin/sh -c '{_RELAY}' {down.inherited} {up.inherited}",
            source,
            destination,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(up.inherited, down.inherited),
            # Without variables that change rsync's options and programs:
            env={k: v for k, v in os.environ.items() if not k.startswith("RSYNC_")},
            start_new_session=True,  # orch handles Ctrl-C, and ends the whole group
        )
        client = Client(process, up, down)
        try:
            if max_file_size is not None:
                _limit_files(process.pid, max_file_size)
            up.close_inherited()
            down.close_inherited()
            assert process.stdin is not None
            process.stdin.write(listing)
            process.stdin.close()
            yield client
        finally:
            await _end(process, client)


def _limit_files(pid: int, max_size: int) -> None:
    """Limit the size of files that the process can write; called before it gets data from the node."""
    if hasattr(resource, "prlimit"):  # Linux
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (max_size, max_size))


async def _end(process: asyncio.subprocess.Process, client: Client) -> None:
    """Terminate rsync and all processes that it started, unless it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):  # at SIGTERM it keeps what has arrived
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        # A process blocked in the kernel, as on a hung network disk, ends when it can.
        with suppress(TimeoutError):
            await asyncio.wait_for(client.finished(), _KILL_TIMEOUT)


class Rsync(NamedTuple):
    """The rsync of this machine."""

    path: str
    version: tuple[int, ...]


@functools.cache
def local_rsync() -> Rsync:
    """Return the rsync of this machine. Raises SyncError if there is none, or it is too old."""
    path = shutil.which("rsync")
    if path is None:
        raise SyncError(
            "rsync is not installed on this machine",
            remedy="install it (apt-get install rsync; macOS: brew install rsync), "
            + PUSH["without_rsync"],
        )
    try:
        output = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=True, text=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SyncError(
            f"{path} does not run: {printable(str(error))}", remedy="install rsync again"
        ) from error
    found = re.match(r"rsync +version +v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", output)
    version = tuple(int(part or 0) for part in found.groups()) if found else (0,)
    if version < _MIN_VERSION:
        raise SyncError(
            f"{path} is too old: it is {printable(first_line(output), 60)!r}, "
            f"and orch needs rsync {'.'.join(map(str, _MIN_VERSION))} or later",
            remedy="install a current rsync (macOS, whose own is openrsync: brew install rsync)",
        )
    return Rsync(path, version)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """Read `stream` to its end, and return at most the last `_MAX_OUTPUT` bytes."""
    kept = bytearray()
    while piece := await stream.read(_MAX_OUTPUT):
        kept += piece
        del kept[:-_MAX_OUTPUT]
    return bytes(kept)
