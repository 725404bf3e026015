"""Run a program of this machine in bounded time and memory, and leave nothing of it running."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

_MAX_ERRORS = 1 << 20  # bytes


class RunFailed(Exception):
    """The program could not be started, did not end in time, or printed too much: the argument says so."""


class Ended(NamedTuple):
    """The exit code of a program, and what it printed."""

    code: int
    output: bytes
    errors: bytes


def run_bounded(
    argv: Sequence[str], *, timeout: float, max_bytes: int, env: Mapping[str, str] | None = None
) -> Ended:
    """Run `argv` without standard input, in a session of its own, which is killed at the end.

    Raises RunFailed after `timeout` seconds, and for an output of more than `max_bytes`.
    """
    # In files: a process that the program leaves in the background could keep pipes open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise RunFailed(f"{argv[0]} cannot be started: {error.strerror}") from None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{argv[0]} did not end within {timeout:g} s") from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed = _content(output, max_bytes + 1)
        if len(printed) > max_bytes:
            raise RunFailed(f"{argv[0]} printed more than {max_bytes:,} bytes")
        return Ended(code, printed, _content(errors, _MAX_ERRORS))


def _content(file: IO[bytes], most: int) -> bytes:
    file.seek(0)
    return file.read(most)
