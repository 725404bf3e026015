"""Take back a suspicion when the program continues: what was retried, or only mentioned, is no cause.

After a line that looks like a failure, lines with the progress of a training (a step, an epoch, a progress
bar) show that the program survived it. An exception that ended a process needs more of them, as other
processes may print into the same file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.diagnose.findings import Group
from orchestrator.diagnose.table import SIGNATURES

_PROGRESS = re.compile(
    rb"(?i:\b(?:step|epoch|iter|iteration|batch|global_step)s?\b\W{0,4}\d)|\d/\d{1,12} \[\d|"
    rb"\b[Ll]oss\b\W{1,5}\d|\dit/s|\ds/it"
)
# In a block without digits.
_MAY_PROGRESS = re.compile(rb"(?i:step|epoch|iter|batch|loss)|it/s|s/it|/ \[")
_SUCCESS = re.compile(
    rb"worker group successfully finished|`Trainer\.fit` stopped: |"
    rb"\bTraining (?:completed|finished|done)\b|Completed store-based barrier|"
    rb"[Ss]uccessfully (?:re)?connected|\b[Rr]econnected\b|[Rr]etry (?:succeeded|successful)|"
    rb"(?:exited with|exit|return) code:? 0\b|'train_runtime': \d"
)
# In a block without digits and full stops.
_MAY_SUCCEED = re.compile(
    rb"worker group successfully finished|`Trainerfit` stopped|Training (?:completed|finished|done)|"
    rb"Completed store-based barrier|onnected|etry success|etry succeeded|exit|return|train_runtime"
)
# In the line itself: the program says that it continues without what failed, or tries again.
_CONTINUES = re.compile(
    r"(?i:\bfall(?:ing|s)? ?back\b|\bwill (?:retry|try again|be (?:ignored|disabled|skipped))\b|"
    r"\bretrying\b|\bignoring this\b|\((?:ignored|optional)\b|"
    r"\btrying (?:again|another|(?:a )?(?:smaller|larger) |batch size))"
)
_GIVES_UP = re.compile(r"(?i:\bgiving up|\bno more retries|\bretries (?:exhausted|exceeded))")
_UNDONE = {
    signature.id: re.compile(signature.undone_by.encode())
    for signature in SIGNATURES
    if signature.undone_by is not None
}
_LINES = 3  # of progress that show that a line was no failure
_LINES_AFTER_EXCEPTION = 20


@dataclass
class _Suspicion:
    group: Group
    needed: int
    at: int  # offset of the line in the block; -1: in an earlier block


class Recovery:
    """Follows the suspicions of one source, from block to block."""

    def __init__(self) -> None:
        self._open: dict[int, _Suspicion] = {}
        self._source = ""

    @staticmethod
    def is_announced(text: str) -> bool:
        """Tell whether a line says itself that the program continues: it retries, or falls back."""
        return _CONTINUES.search(text) is not None and _GIVES_UP.search(text) is None

    def start(self, source: str) -> None:
        """Start with a source; what is still suspected in the one before stays so."""
        self._open.clear()
        self._source = source

    def suspect(self, group: Group, at: int, *, is_raised: bool) -> None:
        """Note a match at an offset of the current block; `is_raised`: an exception that nothing caught."""
        group.standing.add(self._source)
        self._open[id(group)] = _Suspicion(
            group, _LINES_AFTER_EXCEPTION if is_raised else _LINES, at
        )

    def block(self, lines: bytes, shapes: bytes) -> None:
        """Read the block in which the latest suspicions are; `shapes` are its lines without digits."""
        if not self._open:
            return
        first = max(0, min(suspicion.at for suspicion in self._open.values()))
        found = _progress(lines, first) if _MAY_PROGRESS.search(shapes) else []
        successes = _SUCCESS.finditer(lines, first) if _MAY_SUCCEED.search(shapes) else ()
        done = [success.start() for success in successes]
        for key, suspicion in list(self._open.items()):
            suspicion.needed -= sum(at > suspicion.at for at in found)
            if (
                suspicion.needed <= 0
                or any(at > suspicion.at for at in done)
                or _is_undone(suspicion, lines)
            ):
                suspicion.group.standing.discard(self._source)
                del self._open[key]
            else:
                suspicion.at = -1


def _is_undone(suspicion: _Suspicion, lines: bytes) -> bool:
    """Tell whether a line after the suspicion says that the same thing succeeded after all."""
    undone = _UNDONE.get(suspicion.group.signature.id)
    return undone is not None and undone.search(lines, max(0, suspicion.at)) is not None


def _progress(lines: bytes, start: int) -> list[int]:
    """Return the offsets of lines with progress from `start` on, without the rest of the line there."""
    found, at = [], lines.find(b"\n", start)
    while at >= 0 and (match := _PROGRESS.search(lines, at)):
        found.append(match.start())
        at = lines.find(b"\n", match.end())
    return found
