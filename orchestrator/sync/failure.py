"""Why a push or a fetch failed, from the exit codes and the messages of rsync on both sides."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence

from orchestrator.errors import SyncError
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.signals import signal_name
from orchestrator.util.text import printable

RERUN = "run it again: what has arrived is kept"

_MAX_LINES = 3  # of rsync's messages in an error


Direction = Mapping[str, str]
"""The phrases that differ between errors of a push and of a fetch."""

PUSH: Direction = {
    "action": "sending files to",
    "sender": "this machine",
    "receiver": "the node",
    "elsewhere": "or set another workdir in the inventory",
    "omit": "or name it in .orchignore",
    "if_gone": "run it again when it is back",
    "without_rsync": "or copy the files yourself and use --no-sync",
}
FETCH: Direction = {
    "action": "fetching files into",
    "sender": "the node",
    "receiver": "this machine",
    "elsewhere": "or fetch into another folder: --to DIR",
    "omit": "or name what can be read: orch fetch RUN PATTERN",
    "if_gone": "check what is there: orch exec -- ls",
    "without_rsync": "or copy the files with scp",
}


def refused(node: str, destination: str, said: str) -> SyncError:
    """Return the error of a push whose files a node could not write, for the reason `said`."""
    found = _by_message(said)
    if found is None:
        return SyncError(
            f"{printable(destination)} cannot be brought up to date: {said}",
            node=node,
            remedy=RERUN,
        )
    return _error(PUSH, node, destination, *found[:2], [printable(said)])


def failure(
    direction: Direction, node: str, destination: str, here: int, there: int | None, said: bytes
) -> SyncError:
    """Return the error of a transfer, with its cause and a remedy.

    `here` is the exit code of rsync on this machine (-N: by signal N), `there` that of the one on the node
    (128 + N), None if unknown. `said` is the end of the standard error of both.
    """
    cause, remedy, evidence = (
        _by_code(here, there)
        or _by_message(said.decode("utf-8", "replace"))
        or _unknown(here, there)
    )
    lines = list(filter(None, map(printable, said.splitlines())))
    telling = [line for line in lines if evidence.search(line)] or lines
    return _error(direction, node, destination, cause, remedy, telling)


def _error(
    direction: Direction,
    node: str,
    destination: str,
    cause: str,
    remedy: str,
    telling: Sequence[str],
) -> SyncError:
    details = "".join(f"\n    {line}" for line in telling[:_MAX_LINES])
    cause = cause.format(where=printable(destination), **direction)
    # The whole message, as for a command:
    remedy = remedy.format(where=line_to_paste([destination]), **direction)
    return SyncError(f"{cause}{details}", node=node, remedy=remedy)


_Cause = tuple[str, str, re.Pattern[str]]
"""A cause, a remedy, and the messages that show it; `{…}` is filled in from the direction."""


def _by_code(here: int, there: int | None) -> _Cause | None:
    if there == 127:
        install = "install it there (apt-get install rsync, or dnf install rsync), {without_rsync}"
        return "rsync is not installed on the node", install, _NOT_CONSEQUENCE
    if there == 126:
        return "rsync on the node cannot be run", "install it again, {without_rsync}", _ANY
    if here == 2:
        check = "check `rsync --version` on the node, {without_rsync}"
        return "what answers on the node does not speak rsync's protocol", check, _ANY
    return None


def _by_message(said: str) -> _Cause | None:
    for pattern, (cause, remedy) in _CAUSES.items():
        if (evidence := re.compile(pattern)).search(said):
            return cause, remedy, evidence
    return None


def _unknown(here: int, there: int | None) -> _Cause:
    if here < 0:
        cause = f"rsync on this machine was killed by {signal_name(-here)}"
        return cause, RERUN, _NOT_CONSEQUENCE
    if there is not None and there > 128:
        memory = ", perhaps for lack of memory" if there - 128 == signal.SIGKILL else ""
        cause = f"rsync on the node was killed by {signal_name(there - 128)}{memory}"
        return cause, RERUN, _NOT_CONSEQUENCE
    cause = f"rsync failed (code {here} here, {'none' if there is None else there} from the node)"
    return cause, "see its messages; man rsync explains the codes", _ANY


_ANY = re.compile(r"\S")
# When one side ends, the other only reports a broken stream, which explains nothing.
_NOT_CONSEQUENCE = re.compile(
    r"^(?!.*(unexpectedly closed|rsync error: |Broken pipe|[Cc]onnection reset))"
)
_CAUSES = {
    r"No space left on device": (
        "the disk of {receiver} that holds {where} is full",
        f"free some space (df -h {{where}}) and {RERUN}; {{elsewhere}}",
    ),
    r"[Qq]uota exceeded": (
        "the user's quota on {receiver} for {where} is used up",
        f"free some space (quota -s) and {RERUN}; {{elsewhere}}",
    ),
    r"Read-only file system": (
        "{where} is on a read-only file system",
        "mount it writable, {elsewhere}",
    ),
    r"link (?>.*? => )(?>.*? failed: )(Operation not (permitted|supported)|Function not impl)": (
        "the file system of {where} has no hard links",
        "name the second of the two in .orchignore, or copy it here, {elsewhere}",
    ),
    r"(\[sender\] |send_files ).*Permission denied|link_stat .*Permission denied": (
        "a file on {sender} cannot be read",
        "change its permissions, {omit}",
    ),
    r"Permission denied|Operation not permitted": (
        "{where} on {receiver} cannot be written",
        "change the owner or the mode (ls -ld {where}), {elsewhere}",
    ),
    r"Too many levels of symbolic links|refusing to follow": (
        "a link below {where} leads out of it, which the node's rsync does not follow",
        "name the link in .orchignore, or make workdir the folder that it leads to",
    ),
    r"could not make way|cannot delete non-empty directory": (
        "a folder below {where} is in the way of a file with its name",
        "move it away on the node: orch deletes nothing there",
    ),
    r"mkdir .*No such file or directory": (
        "{where} cannot be created on {receiver}: its parent folder does not exist",
        "create it (mkdir -p {where}), {elsewhere}",
    ),
    r"change_dir .*No such file or directory": (
        "the folder to send is gone from {sender}",
        "{if_gone}",
    ),
    r"File name too long|Invalid or incomplete multibyte|Illegal byte sequence": (
        "the file system of {where} does not accept a file's name",
        "rename the file, {omit}, {elsewhere}",
    ),
    r"[Ii]nput/output error": (
        "a disk failed",
        f"check dmesg on both machines and {RERUN}; {{elsewhere}}",
    ),
    r"unknown option|syntax or usage error": (
        "the node's rsync is too old, or not rsync",
        "install rsync 3.0 or later there, {without_rsync}",
    ),
}
"""The cause and the remedy for each pattern of messages; the first that matches."""
