"""This process's terminal, lent to a program that asks the user something."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_DEVICE = "/dev/tty"
_ERASE = b"\r\x1b[J"  # rows that orch has drawn below the cursor


class Terminal:
    """The terminal from which orch was started; it must be in the foreground."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def say(self, text: str) -> None:
        """Write a line below everything else."""
        os.write(self.descriptor, _ERASE + text.encode() + b"\r\n")

    @contextmanager
    def lent(self, group: int) -> Iterator[None]:
        """Have the process group read from the terminal, and get its Ctrl-C, in this context.

        Meanwhile orch draws nothing, as it is not in the foreground.
        """
        self._pass_to(group)
        os.killpg(group, signal.SIGCONT)  # it stopped if it was too fast
        try:
            yield
        finally:
            self._pass_to(os.getpgrp())

    def _pass_to(self, group: int) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(self.descriptor, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def opened() -> Iterator[Terminal | None]:
    """Open the terminal; None if there is none, or orch is in its background."""
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        is_ours = os.tcgetpgrp(descriptor) == os.getpgrp()
        yield Terminal(descriptor) if is_ours else None
    finally:
        os.close(descriptor)
