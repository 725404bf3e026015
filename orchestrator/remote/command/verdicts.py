"""Verdicts on nodes on which a local program does not run a script: its own words, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import Unreachable
from orchestrator.remote.base import CONTAINER
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

_MAX_REASON = 300  # characters
# Lines of a log beside the message: `E1130 22:53:11.839144   31128 memcache.go:265] ...` of kubectl.
_LOG_LINE = re.compile(rb"^[EWIF]\d{4} \d\d:.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Reason:
    """What a program prints (`pattern`, any case) if `cause` is the reason, and how to fix it.

    In `remedy`, `{program}` is the program, and `{name}` the name by which it knows the node.
    """

    pattern: str
    cause: str
    remedy: str


NO_SHELL = Reason(
    r"(executable file|command) .*not found|no such file or directory: .*sh\b|sh: not found",
    "shell",
    "orch needs a POSIX shell (sh) in {name}: use an image that has one",
)


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on the node `node`, which `program` knows as `known_as`.

    `attempt` is a command with which the user sees the same; the first of `reasons` that matches what the
    program printed has the remedy.
    """

    node: str
    program: str
    known_as: str
    attempt: Sequence[str]
    reasons: Sequence[Reason] = (NO_SHELL,)

    def not_installed(self) -> Unreachable:
        """Return the verdict on a program that is not on the PATH of this machine."""
        return self._verdict(
            "program",
            f"there is no program {printable(self.program)} on this machine",
            f"install {printable(self.program)}, or correct the PATH that orch runs with",
        )

    def failed(self, code: int, said: bytes) -> Unreachable:
        """Return the verdict on a program that ended with `code` before the script ran."""
        words = _message(said)
        if not words and code == 0:
            return self._verdict(
                "shell",
                f"{self.program} ended without running orch's script",
                "if it joins its arguments for a shell, as ssh does, write {quoted_script} in place of "
                f"{{script}}; check with: {line_to_paste(self.attempt)}",
            )
        message = f"{self.program} failed with code {code}"
        message += f": {words}" if words else " and printed nothing"
        for reason in self.reasons:
            if re.search(reason.pattern, words, re.IGNORECASE):
                remedy = reason.remedy.replace("{program}", self.program)
                remedy = remedy.replace("{name}", self.known_as)
                if reason.cause == CONTAINER:
                    message = f"is not running: {message}"
                return self._verdict(reason.cause, message, remedy)
        return self._verdict("program", message, f"try: {line_to_paste(self.attempt)}")

    def silent(self, seconds: float, said: bytes) -> Unreachable:
        """Return the verdict on a script that did not start within `seconds`."""
        words = _message(said)
        return self._verdict(
            "timed-out",
            f"{self.program} did not run a command there within {seconds:g} s"
            + (f" (it printed: {words})" if words else ""),
            f"try: {line_to_paste(self.attempt)}; if it is only slow, raise --connect-timeout",
        )

    def noisy(self, said: bytes) -> Unreachable:
        """Return the verdict on a program that prints without end instead of running the script."""
        return self._verdict(
            "shell",
            f"{self.program} prints without end (it printed: {printable(said)})",
            f"check with: {line_to_paste(self.attempt)}",
        )

    def _verdict(self, cause: str, message: str, remedy: str) -> Unreachable:
        return Unreachable(self.node, cause, message, remedy, place=self.known_as)


def _message(said: bytes) -> str:
    """Return the end of what a program printed, safe for a terminal, without lines of a log."""
    text = printable(_LOG_LINE.sub(b"", said + b"\n"), 8 * _MAX_REASON)
    return text if len(text) <= _MAX_REASON else f"…{text[1 - _MAX_REASON :]}"
