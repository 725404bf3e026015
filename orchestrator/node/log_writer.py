"""Carry what a process prints from two pipes into its log files, in a process of its own.

A regular file as stdout or stderr is emptied by whatever opens `/dev/stderr` by name to write (a shell's
`> /dev/stderr`, `tee /dev/stderr`, `open("/dev/stdout", "w")`), and overwritten by what that writes. A pipe
is not: whoever opens it so only writes to it as well. So a process of a run has pipes, and a log writer
beside it appends to the files whatever comes, with nobody to wait for but the disk. It ends by itself when
nothing can write to its pipes any more; until then whoever started it holds their reading ends too and
starts another where it was killed, so that the process never has a broken pipe.

A disk that takes nothing stops no rank either: the newest MiB of each stream waits in memory, older bytes
are given up, and a line in the file says how many. So it does where the file was cut short by somebody
else; what comes next then stands at the offset that it would have had, for whoever reads on from his own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from typing import Dict, List

from . import files, linux, processes

_F_SETPIPE_SZ = 1031  # linux/fcntl.h; Python has a name for it from 3.10 on
# Bytes of a pipe: a few times what is read at once. The pipes of a user without privileges may have 64 MiB
# in all (fs.pipe-user-pages-soft) before new ones become tiny.
_PIPE = 1 << 18
_CHUNK = 1 << 18
_WAITING = 1 << 20  # bytes of a stream that wait in memory for a disk that takes none
_LOOK_EVERY = 2.0  # seconds between looks at whether a file was cut short
_TRY_EVERY = 0.2  # seconds between attempts to write what waits
_DISK_TIMEOUT = 3.0  # seconds that the disk has once all has come; then the room set aside is used
_RESERVED_BYTES = 1 << 14  # bytes of a stream that go into that room: the rest of it is for records
# It ends when all has come, and not with those that it serves.
_IGNORED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


class Streams:
    """stdout and stderr of one process, written to `base`.out and `base`.err by a log writer.

    `stdout` and `stderr` are what the process writes to; close them here (`close_writing`) once it has
    them. Raises OSError where a file cannot be opened or no process can be started.
    """

    def __init__(self, base: str) -> None:
        self._logs: List[_Log] = []
        self._reading: List[int] = []
        self._writing: List[int] = []
        try:
            for path in (base + ".out", base + ".err"):
                self._logs.append(_Log(path))
                reader, writer = os.pipe()
                self._reading.append(reader)
                self._writing.append(writer)
                _widen(writer)
            self.pid = self._start()
        except OSError:
            self.close_writing()
            self.close()
            raise

    @property
    def stdout(self) -> int:
        return self._writing[0]

    @property
    def stderr(self) -> int:
        return self._writing[1]

    def close_writing(self) -> None:
        while self._writing:
            os.close(self._writing.pop())

    def close(self) -> None:
        """Let go of the pipes and the files; the log writer goes on."""
        while self._reading:
            os.close(self._reading.pop())
        while self._logs:
            self._logs.pop().close()

    def has_ended(self, status: int) -> bool:
        """Take note that the log writer has ended with this wait status; start another if it was killed.

        Return whether there is none any more. Where none can be started, the pipes are broken from now on.
        """
        if os.WIFSIGNALED(status):
            try:
                self.pid = self._start()
                return False
            except OSError:
                pass  # no more processes here: whoever prints hears of it, and does not wait for ever
        self.close()
        return True

    def _start(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                linux.set_name(processes.LOG_WRITER)
                os.setsid()  # what is sent to the group of a rank is not for it
                for number in _IGNORED:
                    signal.signal(number, signal.SIG_IGN)
                os.chdir("/")
                _close_all_but(self._reading + [log.descriptor for log in self._logs])
                _write(dict(zip(self._reading, self._logs)))
            except BaseException as error:
                os.write(
                    self._logs[1].descriptor, _note("the log writer failed: {!r}".format(error))
                )
                os._exit(1)
            os._exit(0)
        return pid


class _Log:
    """One log file, and what waits to be written to it. Raises OSError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.descriptor = files.open_log(path)
        self._size = os.fstat(self.descriptor).st_size  # as far as it was written, by whomever
        self._waiting = b""
        self._lost = 0  # bytes that were given up before those
        self._why = ""

    @property
    def is_behind(self) -> bool:
        """Whether anything waits for the disk."""
        return bool(self._waiting or self._lost)

    def put(self, data: bytes) -> None:
        """Write `data`, or let it wait."""
        self._waiting += data
        self.catch_up()
        self._give_up_all_but(_WAITING)

    def catch_up(self) -> None:
        """Give a file that was cut short its length again, and write what waits, if the disk lets us."""
        try:
            self._mend_length()
            if self.is_behind:
                self._write()
        except OSError as error:
            self._why = error.strerror or str(error)

    def finish(self) -> None:
        """Write the end of what waits into the room that was set aside for it."""
        self._give_up_all_but(_RESERVED_BYTES)
        files.give_room_back(self._path)
        self.catch_up()

    def close(self) -> None:
        os.close(self.descriptor)

    def _give_up_all_but(self, count: int) -> None:
        excess = len(self._waiting) - count
        if excess > 0:
            self._waiting = self._waiting[excess:]
            self._lost += excess

    def _write(self) -> None:
        """Append what waits, behind a line about what was given up before it. Raises OSError."""
        data = self._waiting
        if self._lost:
            said = "{:,} bytes that belong here could not be written and are lost: {}"
            data = _note(said.format(self._lost, self._why)) + data
        while data:
            data = data[os.write(self.descriptor, data) :]
            self._size = os.lseek(self.descriptor, 0, os.SEEK_CUR)
            self._waiting, self._lost = data, 0

    def _mend_length(self) -> None:
        """Give a file that was cut short its length again, and say so after it. Raises OSError."""
        size = os.fstat(self.descriptor).st_size
        if size >= self._size:
            return
        # Unlike ftruncate, it never shortens a file that another has lengthened meanwhile.
        os.posix_fallocate(self.descriptor, self._size - 1, 1)
        said = (
            "this file was cut short by another program: up to {:,} bytes before this line are lost"
        )
        self._waiting = _note(said.format(self._size - size)) + self._waiting


def _write(logs: Dict[int, _Log]) -> None:
    """Write what comes from pipes to the log of each, until nothing can come any more."""
    poll = select.poll()
    for reader in logs:
        poll.register(reader, select.POLLIN)
    coming = set(logs)
    look_at = time.monotonic() + _LOOK_EVERY
    while coming:
        behind = any(log.is_behind for log in logs.values())
        until_look = max(0.0, look_at - time.monotonic())
        ready = poll.poll(1000 * min(until_look, _TRY_EVERY if behind else until_look) + 1)
        for reader, _ in ready:
            data = os.read(reader, _CHUNK)
            if data:
                logs[reader].put(data)
            else:
                poll.unregister(reader)
                coming.remove(reader)
        if time.monotonic() >= look_at or (behind and not ready):
            look_at = time.monotonic() + _LOOK_EVERY
            for log in logs.values():
                log.catch_up()
    _finish(list(logs.values()))


def _finish(logs: List[_Log]) -> None:
    """Write what waits now that no more comes, while the disk has a chance to take it."""
    deadline = time.monotonic() + _DISK_TIMEOUT
    while True:
        for log in logs:
            log.catch_up()
        behind = [log for log in logs if log.is_behind]
        if not behind:
            return
        if time.monotonic() >= deadline:
            for log in behind:
                log.finish()
            return
        time.sleep(_TRY_EVERY)


def _note(text: str) -> bytes:
    return "\n[orch: {}]\n".format(text).encode("utf-8", "replace")


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY):  # this user has enough in pipes already
            raise


def _close_all_but(kept: List[int]) -> None:
    """Let go of all that was inherited: a pipe of which this held an end would never end."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of this very listing
