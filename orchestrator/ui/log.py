"""Write log records to stderr or a file: `-v` and `--log-file`, and the log of a background controller.

Each record is a line: local time, level, logger, node, message. Known secrets and what looks like one are
masked, and control sequences are removed.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.logs.sanitize import sanitize, without_colour
from orchestrator.node.trust import open_file
from orchestrator.plan.masking import masked_log
from orchestrator.ui.stderr import Stderr, write_log
from orchestrator.util.log import NODE, ROOT
from orchestrator.util.text import printable

_SSH_LIBRARY = "asyncssh"
_MAX_MESSAGE = 4000  # characters
_CONTROLLER_LOG_LIMIT = 4 << 20  # bytes
# Messages of asyncssh with the command line and the environment of a session.
_WITHHELD = ("Command: ", "Env: ")


class SafeFormatter(logging.Formatter):
    """Formats records as lines without secrets and control sequences."""

    def format(self, record: logging.LogRecord) -> str:
        time = (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )
        node = printable(str(getattr(record, "node", "") or NODE.get()))
        who = f"{record.name} {node}" if node else record.name
        lines = [printable(masked_log(record.getMessage()), _MAX_MESSAGE)]
        if record.exc_info:
            trace = masked_log(self.formatException(record.exc_info))
            safe = without_colour(sanitize(trace.encode(errors="replace")).decode())
            lines += [f"    {line}" for line in safe.splitlines()]
        return f"{time} {record.levelname} {who}: " + "\n".join(lines)


class _Handler(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(SafeFormatter())
        self.addFilter(_is_no_command)

    def line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="replace")


class StderrHandler(_Handler):
    """Writes to stderr, above what is drawn at the bottom."""

    def emit(self, record: logging.LogRecord) -> None:
        write_log(self.line(record))


class FileHandler(_Handler):
    """Appends to a file that is open at `descriptor`; stops with a warning once that fails.

    If the file grows beyond `limit` bytes, its older half is removed.
    """

    def __init__(self, level: int, path: Path, descriptor: int, limit: int | None = None) -> None:
        super().__init__(level)
        self._path = path
        self._descriptor = descriptor
        self._limit = limit
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._has_failed:
            return
        try:
            os.write(self._descriptor, self.line(record))
            if self._limit is not None:
                self._trim(self._limit)
        except OSError as error:
            self._has_failed = True
            where = printable(str(self._path), 400)
            Stderr().line(f"warning: {where}: the log ends here: {error.strerror}", "yellow")

    def _trim(self, limit: int) -> None:
        """Remove the older half in place: other processes append to the same file."""
        size = os.fstat(self._descriptor).st_size
        if size <= limit:
            return
        kept = os.pread(self._descriptor, limit // 2, size - limit // 2)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, kept[kept.find(b"\n") + 1 :])


def _is_no_command(record: logging.LogRecord) -> bool:
    """Tell whether a record is not about a command line or environment, which may contain a secret."""
    return record.name.split(".")[0] != _SSH_LIBRARY or not any(
        part in str(record.msg) for part in _WITHHELD
    )


def log_to_stderr(verbosity: int) -> None:
    """Write records to stderr from now on: level INFO for 1, all and asyncssh's for 2 or more."""
    _attach(StderrHandler(logging.INFO if verbosity == 1 else logging.DEBUG))


def log_to_file(path: Path) -> None:
    """Append all records, asyncssh's too, to the file `path` from now on; only its owner can read a new
    one.

    Raises UsageError if it cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"--log-file {printable(str(path), 400)}: cannot be written: {why}",
            remedy="name a file in a folder that exists and that you may write to",
        ) from None
    _attach(FileHandler(logging.DEBUG, path, descriptor))


def log_of_controller(path: Path) -> None:
    """Append records of level INFO to the log of a background controller, which stays below 4 MiB.

    Raises OSError.
    """
    descriptor = open_file(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    _attach(FileHandler(logging.INFO, path, descriptor, _CONTROLLER_LOG_LIMIT))


def _attach(handler: logging.Handler) -> None:
    names = (ROOT, _SSH_LIBRARY) if handler.level <= logging.DEBUG else (ROOT,)
    for name in names:
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(min(handler.level, log.level or handler.level))
