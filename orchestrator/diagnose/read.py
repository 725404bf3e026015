"""Read logs once, each from its start to where it ended when the reading started, and diagnose them."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.diagnose import Diagnosis, Evidence, Source, diagnose
from orchestrator.diagnose.site_signatures import site_signatures
from orchestrator.logs.holes import extents

GZIP = b"\x1f\x8b"
"""The first bytes of a file that gzip has packed, whatever its name."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Log:
    """A file to read; `path` None is standard input.

    `size` is how many bytes to read: None for all that come, for example from a pipe.
    """

    source: Source
    path: Path | None
    size: int | None


@dataclass(frozen=True)
class ReadProgress:
    """How far reading has come: `done` of `total` bytes on the disk (None: unknown)."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Examination:
    """What was found in `files`, with `bytes` of text.

    `problems` has a sentence for each file that could not be read and each signature of the site that is
    left out.
    """

    diagnosis: Diagnosis
    files: tuple[str, ...]
    bytes: int
    problems: tuple[str, ...]


def examine(
    logs: Sequence[Log],
    evidence: Evidence | None = None,
    on_progress: Callable[[ReadProgress], None] = lambda reading: None,
) -> Examination:
    """Diagnose `logs`, also with the site's signatures; `on_progress` is called while they are read.

    Memory is bounded. Reading takes about a second for 100 MB.
    """
    reader = _Reader(logs, on_progress)
    site = site_signatures()
    streams = ((log.source, reader.chunks(log)) for log in logs)
    diagnosis = diagnose(streams, evidence, site.signatures)
    problems = (*reader.problems, *site.problems)
    return Examination(diagnosis, tuple(reader.files), reader.bytes, problems)


class _Reader:
    def __init__(self, logs: Sequence[Log], on_progress: Callable[[ReadProgress], None]) -> None:
        self.files: list[str] = []
        self.bytes = 0
        self.problems: list[str] = []
        self._on_progress = on_progress
        sizes = [log.size for log in logs]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._done = 0

    def chunks(self, log: Log) -> Iterator[bytes]:
        """Yield the bytes of a log, as far as it can be read."""
        name, before = log.source.name, self.bytes
        try:
            for chunk in self._raw(log):
                self.bytes += len(chunk)
                yield chunk
            self.files.append(name)
        except (OSError, EOFError, zlib.error) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            if self.bytes == before:
                self.problems.append(f"{name} cannot be read: {why}")
                return
            self.files.append(name)
            self.problems.append(f"{name} can be read up to byte {self.bytes - before} only: {why}")

    def _parts(self, descriptor: int, size: int) -> Iterator[bytes]:
        """Yield the data of a file, and a newline for each hole, which may have any length."""
        for start, end, is_hole in extents(descriptor, 0, size):
            while not is_hole and start < end:
                chunk = os.pread(descriptor, min(_CHUNK, end - start), start)
                if not chunk:
                    return  # the file was truncated
                start += len(chunk)
                self._done += len(chunk)
                yield chunk
                self._on_progress(ReadProgress(self._done, self._total))
            if is_hole:
                self._done += end - start
                yield b"\n"

    def _raw(self, log: Log) -> Iterator[bytes]:
        before = self._done
        with open(0 if log.path is None else log.path, "rb", closefd=log.path is not None) as file:
            is_packed = log.size != 0 and file.peek(len(GZIP)).startswith(GZIP)
            if log.size is not None and not is_packed:
                yield from self._parts(file.fileno(), log.size)
                return
            data = gzip.GzipFile(fileobj=file) if is_packed else file
            while chunk := data.read1(_CHUNK):
                yield chunk
                self._done = (
                    before + file.tell() if log.size is not None else self._done + len(chunk)
                )
                self._on_progress(ReadProgress(self._done, self._total))
