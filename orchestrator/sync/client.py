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
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass

from orchestrator.errors import SyncError
from orchestrator.remote.text import printable
from orchestrator.sync.pipe import Pipe
from orchestrator.sync.tree import LEFTOVERS, Tree

_KEPT = 64 << 10  # bytes of what rsync says; how it ended stands last
_LAST_WORDS = 5.0  # seconds that a killed rsync has to end
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

    async def command(self) -> list[str] | None:
        """Return the argument list for the node; None if rsync ended before it came to that.

        Raises SyncError if it is anything but an rsync server.
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
        if command[:2] != ["rsync", "--server"]:
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
async def sending(tree: Tree, destination: str) -> AsyncIterator[Client]:
    """Start rsync to send `tree` into `destination`; on leaving, nothing of it is left.

    Raises SyncError when this machine has no rsync that can do this.
    """
    with ExitStack() as stack:
        up = stack.enter_context(closing(Pipe(to_child=False)))
        down = stack.enter_context(closing(Pipe(to_child=True)))
        process = await asyncio.create_subprocess_exec(
            rsync_here(),
            *_OPTIONS,
            f"--rsh=/bin/sh -c '{_RELAY}' {down.inherited} {up.inherited}",
            f"{tree.root}/",
            f"node:{destination}/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(up.inherited, down.inherited),
            env=_environment(os.environ),
            start_new_session=True,  # Ctrl-C is ours to handle, and the group is ours to end
        )
        client = Client(process, up, down)
        try:
            up.handed_over()
            down.handed_over()
            assert process.stdin is not None
            process.stdin.write(tree.listing)
            process.stdin.close()
            yield client
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                # One that the kernel holds, on a network disk that hangs, ends when it can.
                with suppress(TimeoutError):
                    await asyncio.wait_for(client.finished(), _LAST_WORDS)


@functools.cache
def rsync_here() -> str:
    """Return the path of this machine's rsync. Raises SyncError if it has none, or one too old."""
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
    found = re.match(r"rsync +version +v?(\d+)\.(\d+)(?:\.(\d+))?", said)
    version = tuple(int(part or 0) for part in found.groups()) if found else (0,)
    if version < _OLDEST:
        raise SyncError(
            f"{path} cannot do this: it is {printable(said.partition(chr(10))[0], 60)!r}, "
            f"and orch needs rsync {'.'.join(map(str, _OLDEST))} or later",
            remedy="install a current rsync (macOS, whose own is openrsync: brew install rsync)",
        )
    return path


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
