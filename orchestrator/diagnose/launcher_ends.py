"""Reads what launchers other than torchrun tell of a process's end, in one line."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from orchestrator.diagnose.label import Label
from orchestrator.diagnose.model import Exit
from orchestrator.diagnose.values import MAX_RANK, a_name

ENDS = ("srun: error: ", "exits with return code = ", " exited on signal ")
"""A line that tells of an end has one of these texts."""

_MOST = 4096  # ranks of one line

# Slurm's words are those of strsignal(3).
_SRUN = re.compile(
    r"srun: error: (?P<node>[\w.-]{1,253}): tasks? (?P<ranks>[\d,-]{1,400}): "
    r"(?:Exited with exit code (?P<code>\d{1,3})$|(?P<signal>[A-Z][A-Za-z ]{2,40})(?: \(core dumped\))?$)"
)
_DEEPSPEED = re.compile(r"sigkill_handler\] .*exits with return code = (?P<code>-?\d{1,3})$")
_MPIRUN = re.compile(
    r"process rank (?P<rank>\d{1,7}) with PID (?P<pid>\d{1,10}) on node (?P<node>\S{1,253}) "
    r"exited on signal (?P<signal>\d{1,2})"
)
_SIGNALS = {signal.strsignal(number): number for number in signal.valid_signals()}
_OURS = {"Out Of Memory": int(signal.SIGKILL)}


def ends_in(text: str, label: Label) -> Iterator[Exit]:
    """Yield how the ranks ended that this line, printed by `label`, tells of."""
    if found := _SRUN.search(text):
        words = found["signal"]
        number = None if words is None else _SIGNALS.get(words, _OURS.get(words))
        if words is None or number is not None:
            code = int(found["code"]) if number is None else -number
            for rank in _numbers(found["ranks"]):
                yield Exit(rank, code, a_name(found["node"]))
    elif found := _DEEPSPEED.search(text):
        yield Exit(None, int(found["code"]), label.node)
    elif found := _MPIRUN.search(text):
        yield Exit(
            int(found["rank"]),
            -int(found["signal"]),
            a_name(found["node"]),
            int(found["pid"]),
            first=True,
        )


def _numbers(text: str) -> Iterator[int]:
    """Yield those of `0,4-7`."""
    left = _MOST
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            continue
        end = min(int(last or first), int(first) + left - 1, MAX_RANK)
        for number in range(int(first), end + 1):
            left -= 1
            yield number
