"""A run's lease: how long it goes on without a word from a controller.

Renewed through one small file in the run's folder that holds the time of the last word, by the monotonic
clock: all processes of a machine share it, and nobody sets it. It is written in place, eight bytes of a
file that is there: a full disk keeps no controller from being heard.
"""

from __future__ import annotations

import os
import struct
import time

from . import files

_HEARD = struct.Struct("<d")


def renew(directory: str) -> bool:
    """Note that a controller was heard of; False where the run in `directory` has no lease."""
    try:
        descriptor = files.open_file(_path(directory), os.O_WRONLY)
    except (FileNotFoundError, files.NotAFile):
        return False  # it has none, or its supervisor makes the file again
    try:
        os.pwrite(descriptor, _HEARD.pack(time.monotonic()), 0)
    finally:
        os.close(descriptor)
    return True


class Lease:
    """What the supervisor of the run in `directory` knows of its lease of so many seconds."""

    def __init__(self, directory: str, seconds: float) -> None:
        self.seconds = seconds
        self._directory = directory
        self._heard = time.monotonic()

    def begin(self) -> None:
        """Make the file through which it is renewed. Raises OSError."""
        descriptor = files.open_own(_path(self._directory), os.O_WRONLY)
        try:
            os.pwrite(descriptor, _HEARD.pack(self._heard), 0)
        finally:
            os.close(descriptor)

    def left(self) -> float:
        """Return for how many seconds it holds yet; nothing is read before they would be over."""
        now = time.monotonic()
        if now >= self._heard + self.seconds:
            self._heard = self._last_word(now)
        return max(0.0, self._heard + self.seconds - now)

    def mend(self) -> None:
        """Make the file again where a script has removed it, or put something else there."""
        try:
            if not os.path.isfile(_path(self._directory)) or os.path.islink(_path(self._directory)):
                self.begin()
        except OSError:
            pass  # tried again at the next look

    def _last_word(self, now: float) -> float:
        try:
            (heard,) = _HEARD.unpack(files.read_some(_path(self._directory), _HEARD.size))
        except (OSError, struct.error):
            return self._heard
        # Whatever else stands there (a script wrote it), nobody was heard of in the future.
        return float(heard) if self._heard < heard <= now else self._heard


def _path(directory: str) -> str:
    return os.path.join(directory, "heard")
