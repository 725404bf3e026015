"""A run's lease: how long it continues without contact from a controller.

It is renewed through one small file in the run's folder that holds the time of the last contact on the
monotonic clock, which all processes of a machine share and no one can set. It is written in place, eight
bytes of an existing file, so a full disk does not stop a controller from renewing it.
"""

from __future__ import annotations

import os
import struct
import time

from . import files

_HEARD = struct.Struct("<d")


def renew(directory: str) -> bool:
    """Note a contact from a controller; return False if the run in `directory` has no lease."""
    try:
        _write(files.open_file(_path(directory), os.O_WRONLY), time.monotonic())
    except (FileNotFoundError, files.NotAFile):
        return False  # it has none, or its supervisor makes the file again
    return True


class Lease:
    """The lease of `seconds` of the run in `directory`, as its supervisor sees it."""

    def __init__(self, directory: str, seconds: float) -> None:
        self.seconds = seconds
        self._path = _path(directory)
        self._heard = time.monotonic()

    def begin(self) -> None:
        """Create the file through which it is renewed. Raises OSError."""
        _write(files.open_own(self._path, os.O_WRONLY), self._heard)

    def left(self) -> float:
        """Return the seconds until it expires; the file is only read when they would be over."""
        now = time.monotonic()
        if now >= self._heard + self.seconds:
            self._heard = self._last_contact(now)
        return max(0.0, self._heard + self.seconds - now)

    def restore(self) -> None:
        """Create the file again if a script has removed it, or put something else there."""
        try:
            if not os.path.isfile(self._path) or os.path.islink(self._path):
                self.begin()
        except OSError:
            pass  # tried again at the next check

    def _last_contact(self, now: float) -> float:
        try:
            (heard,) = _HEARD.unpack(files.read_some(self._path, _HEARD.size))
        except (OSError, struct.error):
            return self._heard
        # A script may have written anything there, but no contact is in the future.
        return float(heard) if self._heard < heard <= now else self._heard


def _write(descriptor: int, heard: float) -> None:
    try:
        os.pwrite(descriptor, _HEARD.pack(heard), 0)
    finally:
        os.close(descriptor)


def _path(directory: str) -> str:
    return os.path.join(directory, "heard")
