"""Say why a push or a fetch failed: from exit codes and from what rsync said on both sides."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import SyncError
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.signals import signal_name
from orchestrator.util.text import printable

_LINES = 3  # of what rsync said, in a message

_ANOTHER_WORKDIR = "or set another workdir in the inventory"
_NO_SYNC = "or bring the files yourself and use --no-sync"

Cause = tuple[re.Pattern[str], str, str]
"""What rsync says, the cause, and the remedy; `{where}` in these is the destination."""


def compiled(table: Sequence[tuple[str, str, str]]) -> tuple[Cause, ...]:
    """Return a table of causes, its patterns ready to use."""
    return tuple((re.compile(words), cause, remedy) for words, cause, remedy in table)


@dataclass(frozen=True)
class Failure:
    """How a push ended; `destination` is on the node.

    `here` is the exit code of rsync on this machine (-N: by signal N), `there` that of its other
    half (128 + N), None if unknown. `said` is the end of what both wrote to standard error.
    """

    node: str
    destination: str
    here: int
    there: int | None
    said: bytes

    without_rsync: ClassVar[str] = _NO_SYNC

    @property
    def causes(self) -> Sequence[Cause]:
        """What may have gone wrong, by what rsync says of it."""
        return _CAUSES

    def error(self) -> SyncError:
        """Return the cause and what to do about it."""
        cause, remedy, evidence = self._by_code() or self._by_words() or self._unknown()
        lines = [printable(line) for line in self.said.splitlines()]
        telling = [line for line in lines if evidence.search(line)] or lines
        said = "".join(f"\n    {line}" for line in [line for line in telling if line][:_LINES])
        return SyncError(f"{cause}{said}", node=self.node, remedy=remedy)

    def _by_code(self) -> tuple[str, str, re.Pattern[str]] | None:
        if self.there == 127:
            remedy = f"install it there (apt-get install rsync, or dnf install rsync), {self.without_rsync}"
            return "rsync is not installed on the node", remedy, _NOT_ABOUT_THE_STREAM
        if self.there == 126:
            return (
                "rsync on the node cannot be run",
                f"install it again, {self.without_rsync}",
                _ANY,
            )
        if self.here == 2:
            remedy = f"see what `rsync --version` is on the node, {self.without_rsync}"
            return "what answers on the node does not speak rsync's protocol", remedy, _ANY
        return None

    def _by_words(self) -> tuple[str, str, re.Pattern[str]] | None:
        said = self.said.decode("utf-8", "replace")
        for words, cause, remedy in self.causes:
            if words.search(said):
                where = printable(self.destination)
                quoted = line_to_paste([self.destination])  # whole: it is for a command
                return cause.format(where=where), remedy.format(where=quoted), words
        return None

    def _unknown(self) -> tuple[str, str, re.Pattern[str]]:
        again = "run it again: what has arrived is kept"
        if self.here < 0:
            cause = f"rsync on this machine was killed by {signal_name(-self.here)}"
            return cause, again, _NOT_ABOUT_THE_STREAM
        if self.there is not None and self.there > 128:
            killed = self.there - 128
            memory = ", perhaps for lack of memory" if killed == signal.SIGKILL else ""
            cause = f"rsync on the node was killed by {signal_name(killed)}{memory}"
            return cause, again, _NOT_ABOUT_THE_STREAM
        there = "none" if self.there is None else self.there
        cause = f"rsync failed (code {self.here} here, {there} from the node)"
        return cause, "see what it said; man rsync explains the codes", _ANY


_ANY = re.compile(r"\S")
# When one side is gone the other says that the stream broke off, which explains nothing.
_NOT_ABOUT_THE_STREAM = re.compile(
    r"^(?!.*(unexpectedly closed|rsync error: |Broken pipe|[Cc]onnection reset))"
)
_CAUSES = compiled(
    (
        (
            r"No space left on device",
            "the disk that holds {where} is full",
            f"free some space (df -h {{where}}), {_ANOTHER_WORKDIR}",
        ),
        (
            r"[Qq]uota exceeded",
            "the user's quota for {where} is used up",
            f"free some space (quota -s), {_ANOTHER_WORKDIR}",
        ),
        (
            r"Read-only file system",
            "{where} is on a read-only file system",
            f"mount it writable, {_ANOTHER_WORKDIR}",
        ),
        (
            r"link (?>.*? => )(?>.*? failed: )(Operation not (permitted|supported)|Function not impl)",
            "the file system of {where} has no hard links",
            f"name the second of the two in .orchignore, or copy it here, {_ANOTHER_WORKDIR}",
        ),
        (
            r"(\[sender\] |send_files ).*Permission denied|link_stat .*Permission denied",
            "a file on this machine cannot be read",
            "change its permissions, or name it in .orchignore",
        ),
        (
            r"Permission denied|Operation not permitted",
            "{where} on the node cannot be written",
            f"change the owner or the mode (ls -ld {{where}}), {_ANOTHER_WORKDIR}",
        ),
        (
            r"Too many levels of symbolic links|refusing to follow",
            "a link below {where} leads out of it, which the node's rsync does not follow",
            "name the link in .orchignore, or make workdir the folder that it leads to",
        ),
        (
            r"could not make way|cannot delete non-empty directory",
            "a folder below {where} stands where a file is to go",
            "move it away on the node: orch deletes nothing there",
        ),
        (
            r"mkdir .*No such file or directory",
            "{where} cannot be made on the node, for its parent is not there",
            "make it (mkdir -p {where}), or set another workdir in the inventory",
        ),
        (
            r"change_dir .*No such file or directory",
            "the folder to send is gone from this machine",
            "run it again when it is back",
        ),
        (
            r"File name too long|Invalid or incomplete multibyte|Illegal byte sequence",
            "the file system of {where} does not take a file's name",
            f"rename the file, name it in .orchignore, {_ANOTHER_WORKDIR}",
        ),
        (
            r"[Ii]nput/output error",
            "a disk failed",
            f"look at dmesg on that machine, {_ANOTHER_WORKDIR}",
        ),
        (
            r"unknown option|syntax or usage error",
            "the node's rsync is too old, or is none",
            f"install rsync 3.0 or later there, {_NO_SYNC}",
        ),
    )
)
