"""Run rsync on this machine, with its connection to the far side in our hands.

rsync reaches its far side through a program (`ssh` as a rule) that it starts with the remote command
line as arguments and the stream on standard input and output. Ours is a few words of shell: two
`cat` between rsync and two pipes that it inherited from us. Nothing listens anywhere, and no second
interpreter has to start.
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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass

from orchestrator.errors import SyncError
from orchestrator.sync.pipe import Pipe
from orchestrator.sync.tree import LEFTOVERS, Tree
from orchestrator.util.text import printable

SERVER = ("rsync", "--server")
"""How a command begins that rsync may want run on a node."""

_KEPT = 64 << 10  # bytes of what rsync says; how it ended stands last
_KILL_TIMEOUT = 5.0  # seconds that a killed rsync has to end
_OLDEST = (3, 1, 3)  # the first with --modify-window=-1

_OPTIONS = (
    "--links",
    "--perms",
    "--times",
    # A script rewritten within the second, with as many bytes, is a new script.
    "--modify-window=-1",
    # Folders on the node are the node's: their modes and times stay, and one may be a link.
    "--no-implied-dirs",
    "--omit-dir-times",
    "--keep-dirlinks",
    "--sparse",
    "--from0",
    "--files-from=-",
    "--ignore-missing-args",  # a log that moved since the folder was read
    # The destination travels in the protocol, past every shell.
    "--protect-args",
    # Never a broken file under its real name; the next push goes on from what is kept.
    f"--partial-dir={LEFTOVERS}",
    "--stats",
    "--no-human-readable",
    # No --compress: on a fast network rsync's own compression is the bottleneck.
)

# $0 and $1 are the inherited ends. First the argument count and the arguments go up; then one cat
# carries rsync's bytes up and the other, in the place of the shell, what comes down: rsync takes
# its end for the end of the connection. Their own end is nobody's news, so stderr is closed. (A
# shell gives a background command no standard input, hence 3; dash knows no digits beyond 9.)
_RELAY = (
    'w=$1; shift; exec 2>/dev/null 3<&0; { printf "%s\\0" $# "$@"; exec cat <&3 3<&-; } '
    ">/dev/fd/$w & exec cat </dev/fd/$0 3<&-"
)


@dataclass(frozen=True)
class Finished:
    """How rsync on this machine ended: its exit code (-N: by signal N) and what it last said."""

    code: int
    stdout: bytes
    stderr: bytes


class Client:
    """A running rsync: `command` is what it wants run on the node, then bytes flow both ways."""

    def __init__(self, process: asyncio.subprocess.Process, up: Pipe, down: Pipe) -> None:
        self._process = process
        self._up = up
        self._down = down
        self._read_ahead = b""

    async def command(self, expected: Sequence[str] = SERVER) -> list[str] | None:
        """Return the argument list for the node; None if rsync ended before it came to that.

        Raises SyncError if it does not begin with the `expected` words.
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
                f"rsync asked for something else on the node: {printable(str(command))}"
            )
        return command

    async def read(self) -> bytes:
        """Return bytes for the node; b"" when rsync and the relay are gone."""
        piece, self._read_ahead = self._read_ahead, b""
        return piece or await self._up.read()

    async def write(self, data: bytes) -> None:
        """Hand on bytes from the node. Raises BrokenPipeError when nobody takes them any more."""
        await self._down.write(data)

    def write_eof(self) -> None:
        """Say that the far side has ended."""
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
    """Start rsync to send `tree` into `destination`; on leaving, nothing of it is left.

    With `update`, a file that is newer there stays as it is. Raises SyncError when this machine has no
    rsync that can do this.
    """
    options = [*_OPTIONS]
    if update:
        options.append("--update")
    if (
        tree.repeated
    ):  # it costs rsync a table of all files, and the node a file system that has them
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
    largest: int | None = None,
) -> AsyncIterator[Client]:
    """Start rsync, one of whose ends is `node:`, with `listing` as its standard input.

    It writes no file of more than `largest` bytes, where the system can see to that. On leaving, it is
    told to end, so that it keeps what has arrived, and nothing of it is left. Raises SyncError when this
    machine has no rsync that can do this.
    """
    with ExitStack() as stack:
        up = stack.enter_context(closing(Pipe(to_child=False)))
        down = stack.enter_context(closing(Pipe(to_child=True)))
        process = await asyncio.create_subprocess_exec(
            rsync_here(),
            *options,
            # Else rsync gives the relay a pipe that does not block: once it is full, `cat` gives up.
            "--blocking-io",
            f"--rsh=/bin/sh -c '{_RELAY}' {down.inherited} {up.inherited}",
            source,
            destination,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(up.inherited, down.inherited),
            env=_environment(os.environ),
            start_new_session=True,  # Ctrl-C is ours to handle, and the group is ours to end
        )
        client = Client(process, up, down)
        try:
            if largest is not None:
                _limit_files(process.pid, largest)
            up.handed_over()
            down.handed_over()
            assert process.stdin is not None
            process.stdin.write(listing)
            process.stdin.close()
            yield client
        finally:
            await _end(process, client)


def _limit_files(pid: int, largest: int) -> None:
    """Have the process, before it has heard anything of the node, write no larger file."""
    if hasattr(resource, "prlimit"):  # Linux
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, largest))


async def _end(process: asyncio.subprocess.Process, client: Client) -> None:
    """End rsync, and all that it started, unless it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):  # at the first, it puts aside what it has
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        # One that the kernel holds, on a network disk that hangs, ends when it can.
        with suppress(TimeoutError):
            await asyncio.wait_for(client.finished(), _KILL_TIMEOUT)


def rsync_here() -> str:
    """Return the path of this machine's rsync. Raises SyncError if it has none, or one too old."""
    return _rsync()[0]


def version_here() -> tuple[int, ...]:
    """Return the version of this machine's rsync. Raises what `rsync_here` raises."""
    return _rsync()[1]


@functools.cache
def _rsync() -> tuple[str, tuple[int, ...]]:
    path = shutil.which("rsync")
    if path is None:
        raise SyncError(
            "rsync is not installed on this machine",
            remedy="install it (apt-get install rsync; macOS: brew install rsync), "
            "or bring the files yourself and use --no-sync",
        )
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=True, text=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SyncError(
            f"{path} does not run: {printable(str(error))}", remedy="install rsync again"
        ) from error
    found = re.match(r"rsync +version +v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", said)
    version = tuple(int(part or 0) for part in found.groups()) if found else (0,)
    if version < _OLDEST:
        raise SyncError(
            f"{path} cannot do this: it is {printable(said.partition(chr(10))[0], 60)!r}, "
            f"and orch needs rsync {'.'.join(map(str, _OLDEST))} or later",
            remedy="install a current rsync (macOS, whose own is openrsync: brew install rsync)",
        )
    return path, version


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what would change rsync's mind about options and programs."""
    return {name: value for name, value in environ.items() if not name.startswith("RSYNC_")}


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """Return the end of what `stream` gave, at most 64 KiB."""
    kept = bytearray()
    while piece := await stream.read(_KEPT):
        kept += piece
        del kept[:-_KEPT]
    return bytes(kept)
