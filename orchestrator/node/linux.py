"""Linux calls that Python's standard library does not offer (prctl, inotify, signalfd), and descriptors."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
from typing import Collection, Iterable, Iterator, NamedTuple, Optional, Tuple

JOB_SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""Signals that a launcher may send to the process group of a rank."""

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x80, 0x100
_IN_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_EVENT = struct.Struct("iIII")
# struct signalfd_siginfo of linux/signalfd.h: ssi_signo and ssi_pid
_SIGNAL = struct.Struct("=I8xI112x")
_SIGSET_SIZE = 128  # bytes of a sigset_t, in glibc and in musl

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "{}: {}".format(call, os.strerror(number)))
    return result


def become_subreaper() -> None:
    """Make this process the parent of every descendant that loses its own (prctl(2))."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which forked it, ends (prctl(2))."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def set_name(name: str) -> None:
    """Set the name of this process as `ps -o comm` and `top` show it (15 bytes at most)."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode("utf-8")[:15], 0, 0, 0), "prctl")


def close_descriptors(but: Collection[int]) -> None:
    """Close every descriptor of this process except `but`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in but:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of this listing itself


class Signal(NamedTuple):
    """A signal that arrived, and the process that sent it: 0 for the kernel or another PID namespace."""

    number: int
    sender: int


class SignalQueue:
    """Signals of this process, blocked and then read one by one (signalfd(2)).

    It never reports one that was not sent. `signal.sigtimedwait` does, up to Python 3.13: if a stop of the
    process (SIGSTOP, a debugger) interrupts it and its time is over by then, it returns uninitialized
    memory.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        mask = ctypes.create_string_buffer(_SIGSET_SIZE)
        _check(_libc.sigemptyset(mask), "sigemptyset")
        for number in numbers:
            _check(_libc.sigaddset(mask, int(number)), "sigaddset")
        signal.pthread_sigmask(signal.SIG_BLOCK, set(numbers))
        self._descriptor = _check(_libc.signalfd(-1, mask, _IN_CLOEXEC_NONBLOCK), "signalfd")
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def wait(self, seconds: float) -> Optional[Signal]:
        """Return the next signal; None if none arrives within `seconds`."""
        if not self._poll.poll(max(0.0, seconds) * 1000):
            return None
        return Signal(*_SIGNAL.unpack(os.read(self._descriptor, _SIGNAL.size)))


class Inotify:
    """Notifications from the kernel when files of watched folders change (inotify(7)).

    Raises OSError if the kernel gives no more instances or watches.
    """

    def __init__(self) -> None:
        self._descriptor = _check(_libc.inotify_init1(_IN_CLOEXEC_NONBLOCK), "inotify_init1")

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, folder: str) -> int:
        """Watch `folder` for files that are created, moved in or written; return the watch's number."""
        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        path = os.fsencode(folder)
        return _check(_libc.inotify_add_watch(self._descriptor, path, mask), "inotify_add_watch")

    def read(self) -> Iterator[Tuple[int, str]]:
        """Yield (watch, file name) of each change since the last call; an overflow is (-1, "")."""
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, _mask, _cookie, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size
            name = data[position : position + length].rstrip(b"\0")
            position += length
            yield watch, os.fsdecode(name)

    def close(self) -> None:
        os.close(self._descriptor)
