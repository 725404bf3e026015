"""Write the output of a process from two pipes to its log files, in a process of its own.

If stdout or stderr is a regular file, a program that opens `/dev/stderr` by name (a shell's
`> /dev/stderr`, `tee /dev/stderr`, `open("/dev/stdout", "w")`) empties it, and overwrites it with its
output. A pipe is only written to. So a process of a run has pipes, and a log writer beside it appends all
that comes to the files, and waits for nothing but the disk. It ends by itself when no process can write to
its pipes any more; until then the process that started it holds their reading ends too and starts another
if it is killed, so that the output never meets a broken pipe.

A full disk stops no rank either: the newest MiB of each stream waits in memory, older bytes are discarded,
and a line in the file says how many. The same line is written if another program has cut the file short;
what comes next is then at the offset that it would have had, so that readers can continue from theirs.
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
# All pipes of a user without privileges may have 64 MiB (fs.pipe-user-pages-soft) before new ones are tiny.
_PIPE_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 18
_MAX_WAITING_BYTES = 1 << 20  # of a stream in memory while the disk is full
_CHECK_INTERVAL = 2.0  # seconds between checks whether a file was cut short
_RETRY_INTERVAL = 0.2  # seconds between attempts to write what waits
_DISK_TIMEOUT = 3.0  # seconds that the disk has at the end; then the reserved space is used
_RESERVED_BYTES = 1 << 14  # of a stream in the reserved space: the rest of that is for records


class Streams:
    """stdout and stderr of one process, written to `base`.out and `base`.err by a log writer.

    `stdout` and `stderr` are descriptors for the process; close them here (`close_writing`) once it has
    them. Raises OSError if a file cannot be opened or no process can be started.
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
            self.stdout, self.stderr = self._writing
            self.pid = self._start()
        except OSError:
            self.close_writing()
            self.close()
            raise

    def close_writing(self) -> None:
        while self._writing:
            os.close(self._writing.pop())

    def close(self) -> None:
        """Close the pipes and the files here; the log writer continues."""
        while self._reading:
            os.close(self._reading.pop())
        while self._logs:
            self._logs.pop().close()

    def has_ended(self, status: int) -> bool:
        """Note that the log writer has ended with this wait status, and start another if it was killed.

        Returns whether there is none any more. If none can be started, the pipes are broken from now on.
        """
        if os.WIFSIGNALED(status):
            try:
                self.pid = self._start()
                return False
            except OSError:
                pass  # too many processes: a process that prints gets an error, and does not hang
        self.close()
        return True

    def _start(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                linux.set_name(processes.LOG_WRITER)
                # It ends once all has been written, not with the group of its rank.
                os.setsid()
                for number in linux.JOB_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                os.chdir("/")
                # With an inherited writing end, its pipe would never end.
                linux.close_descriptors(but=self._reading + [log.descriptor for log in self._logs])
                _write(dict(zip(self._reading, self._logs)))
            except BaseException as error:
                note = _note("the log writer failed: {!r}".format(error))
                os.write(self._logs[1].descriptor, note)
                os._exit(1)
            os._exit(0)
        return pid


class _Log:
    """One log file, and what waits to be written to it. Raises OSError if it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.descriptor = files.open_log(path)
        self._size = os.fstat(self.descriptor).st_size  # up to where it was written
        self._waiting = b""
        self._lost = 0  # bytes that were discarded before those
        self._why = ""

    @property
    def is_behind(self) -> bool:
        """Whether anything waits for the disk."""
        return bool(self._waiting or self._lost)

    def put(self, data: bytes) -> None:
        """Write `data`, or keep it until it can be written."""
        self._waiting += data
        self.catch_up()
        self._discard_all_but(_MAX_WAITING_BYTES)

    def catch_up(self) -> None:
        """Restore the length of a file that was cut short, and write what waits, if the disk has space."""
        try:
            self._restore_length()
            if self.is_behind:
                self._write()
        except OSError as error:
            self._why = error.strerror or str(error)

    def finish(self) -> None:
        """Write the end of what waits into the space that was reserved for it."""
        self._discard_all_but(_RESERVED_BYTES)
        files.release_room(self._path)
        self.catch_up()

    def close(self) -> None:
        os.close(self.descriptor)

    def _discard_all_but(self, count: int) -> None:
        excess = len(self._waiting) - count
        if excess > 0:
            self._waiting = self._waiting[excess:]
            self._lost += excess

    def _write(self) -> None:
        """Append what waits, after a line about what was discarded before it. Raises OSError."""
        data = self._waiting
        if self._lost:
            text = "{:,} bytes that belong here could not be written and are lost: {}"
            data = _note(text.format(self._lost, self._why)) + data
        while data:
            data = data[os.write(self.descriptor, data) :]
            self._size = os.lseek(self.descriptor, 0, os.SEEK_CUR)
            self._waiting, self._lost = data, 0

    def _restore_length(self) -> None:
        """Restore the length of a file that was cut short, and add a line about that. Raises OSError."""
        size = os.fstat(self.descriptor).st_size
        if size >= self._size:
            return
        # Unlike ftruncate, it never shortens a file that another program has just lengthened.
        os.posix_fallocate(self.descriptor, self._size - 1, 1)
        text = (
            "this file was cut short by another program: up to {:,} bytes before this line are lost"
        )
        self._waiting = _note(text.format(self._size - size)) + self._waiting


def _write(logs: Dict[int, _Log]) -> None:
    """Write what comes from each pipe to its log, until no process has the pipe open."""
    poll = select.poll()
    for reader in logs:
        poll.register(reader, select.POLLIN)
    open_pipes = set(logs)
    check_at = time.monotonic() + _CHECK_INTERVAL
    while open_pipes:
        behind = any(log.is_behind for log in logs.values())
        wait = max(0.0, check_at - time.monotonic())
        ready = poll.poll(1000 * min(wait, _RETRY_INTERVAL if behind else wait) + 1)
        for reader, _ in ready:
            data = os.read(reader, _CHUNK_BYTES)
            if data:
                logs[reader].put(data)
            else:
                poll.unregister(reader)
                open_pipes.remove(reader)
        if time.monotonic() >= check_at or (behind and not ready):
            check_at = time.monotonic() + _CHECK_INTERVAL
            for log in logs.values():
                log.catch_up()
    _finish(list(logs.values()))


def _finish(logs: List[_Log]) -> None:
    """Write what waits at the end, for as long as the disk has, and then into the reserved space."""
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
        time.sleep(_RETRY_INTERVAL)


def _note(text: str) -> bytes:
    return "\n[orch: {}]\n".format(text).encode("utf-8", "replace")


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY):  # this user's pipes are at their limit
            raise
