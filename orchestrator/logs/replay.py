"""Read the stored output of a run, in order of time across its nodes, while it grows.

`orch logs`, `attach` and the console read with this while one controller writes. Memory holds one piece
and a block of the index of each node.
"""

from __future__ import annotations

import heapq
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from orchestrator.logs.holes import hole_notice
from orchestrator.logs.index import IndexReader, Record
from orchestrator.logs.stream import Stream
from orchestrator.node.trust import open_file

_MAX_OPEN = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stream, at most 256 KiB, at `offset` that arrived at `t`.

    `t` is in seconds since the epoch by this machine's clock. If `hole` is not 0, that many zeros are at
    `offset`, and `data` is a line to show for them.
    """

    t: float
    stream: Stream
    offset: int
    data: bytes
    hole: int = 0


class Replay:
    """Reads what is stored below `root`: `<node>/index` and the log files of each node.

    `skews` has the seconds that the clock of each node is ahead (default: 0). Only streams that `want`
    accepts are read. `since` leaves out what arrived before that moment, `last` all but that many lines
    (of all streams together, in order of time; an unfinished one counts). Either way a stream starts with
    a whole line; one of over 16 MiB may be cut.

    Reading raises FileNotFoundError if a file has been removed meanwhile.
    """

    def __init__(
        self,
        root: Path,
        skews: Mapping[str, float],
        want: Callable[[Stream], bool] = lambda stream: True,
        *,
        since: float | None = None,
        last: int | None = None,
    ) -> None:
        self._root, self._skews, self._want = root, skews, want
        self._nodes: dict[str, IndexReader] = {}
        self._files: OrderedDict[Stream, int] = OrderedDict()
        self._find_nodes()
        if since is not None:
            for node, reader in self._nodes.items():
                reader.skip_before(since + self._skew(node))
        if last is not None:
            self._skip_to_last(last)

    def pieces(self) -> Iterator[Piece]:
        """Yield what was stored since the last call, in order of time; exhaust it before the next call.

        The pieces of a node keep the order in which they were stored, whatever its clock does. To follow
        a run, call this again and again, for example every 0.1 s.
        """
        self._find_nodes()
        return self._merged(
            _timed(reader.records(), self._skew(node)) for node, reader in self._nodes.items()
        )

    def rest(self) -> Iterator[Piece]:
        """Yield what no index names, for example after a crash. Only for when writing has ended."""
        self._find_nodes()
        return self._merged(_timed(reader.rest(), 0.0) for reader in self._nodes.values())

    def close(self) -> None:
        """Close all files; reading opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _find_nodes(self) -> None:
        with suppress(FileNotFoundError):  # removed just now
            # There is no folder before something is stored.
            for folder in sorted(self._root.iterdir()) if self._root.is_dir() else ():
                if folder.name not in self._nodes and folder.is_dir():
                    self._nodes[folder.name] = IndexReader(self._root, folder.name, self._want)

    def _skew(self, node: str) -> float:
        return self._skews.get(node, 0.0)

    def _merged(self, nodes: Iterable[Iterator[tuple[float, Record]]]) -> Iterator[Piece]:
        for t, record in heapq.merge(*nodes, key=itemgetter(0)):
            hole = record.length if record.hole else 0
            yield Piece(t, record.stream, record.offset, self._data(record), hole)

    def _skip_to_last(self, lines: int) -> None:
        """Move the readers of all nodes so that `lines` lines are left."""
        positions = {node: reader.end for node, reader in self._nodes.items()}
        starts: dict[str, dict[str, int]] = {node: {} for node in self._nodes}
        walks = [_backwards(node, reader, self._skew(node)) for node, reader in self._nodes.items()]
        for _, node, position, record in heapq.merge(*walks, key=itemgetter(0), reverse=True):
            if lines == 0:
                break
            data, path = self._data(record), record.stream.path
            if path not in starts[node] and not data.endswith(b"\n"):
                lines -= 1  # an unfinished line
            newlines = data.count(b"\n")
            skipped = max(0, newlines - lines)
            kept = data.split(b"\n", skipped)[-1]
            lines -= newlines - skipped
            positions[node] = position
            starts[node][path] = record.offset + len(data) - len(kept)
        for node, reader in self._nodes.items():
            reader.start_from(positions[node], starts[node])

    def _data(self, record: Record) -> bytes:
        if record.hole:
            return hole_notice(record.length)
        return os.pread(self._open(record.stream), record.length, record.offset)

    def _open(self, stream: Stream) -> int:
        descriptor = self._files.get(stream)
        if descriptor is not None:
            self._files.move_to_end(stream)
            return descriptor
        if len(self._files) >= _MAX_OPEN:
            os.close(self._files.popitem(last=False)[1])
        path = self._root / stream.node / stream.path
        descriptor = self._files[stream] = open_file(str(path))
        return descriptor


def _timed(records: Iterator[Record], skew: float) -> Iterator[tuple[float, Record]]:
    return ((record.t - skew, record) for record in records)


def _backwards(
    node: str, reader: IndexReader, skew: float
) -> Iterator[tuple[float, str, int, Record]]:
    for position, record in reader.newest_first():
        yield record.t - skew, node, position, record
