"""Read how processes ended from the lines that launchers other than torchrun print."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from orchestrator.diagnose.label import Label
from orchestrator.diagnose.model import Exit
from orchestrator.diagnose.values import MAX_RANK, valid_node

MARKERS = ("srun: error: ", "exits with return code = ", " exited on signal ")
"""A line that reports an exit contains one of these."""

_MAX_RANKS = 4096  # of one line

_SRUN = re.compile(
    r"srun: error: (?P<node>[\w.-]{1,253}): tasks? (?P<ranks>[\d,-]{1,400}): "
    r"(?:Exited with exit code (?P<code>\d{1,3})$|(?P<signal>[A-Z][A-Za-z ]{2,40})(?: \(core dumped\))?$)"
)
_DEEPSPEED = re.compile(r"sigkill_handler\] .*exits with return code = (?P<code>-?\d{1,3})$")
_MPIRUN = re.compile(
    r"process rank (?P<rank>\d{1,7}) with PID (?P<pid>\d{1,10}) on node (?P<node>\S{1,253}) "
    r"exited on signal (?P<signal>\d{1,2})"
)
# Slurm prints the words of strsignal(3), and one phrase of its own.
_SIGNALS = {signal.strsignal(number): int(number) for number in signal.valid_signals()}
_SIGNALS["Out Of Memory"] = int(signal.SIGKILL)


def exits_in(text: str, label: Label) -> Iterator[Exit]:
    """Yield the exits that a line, printed by `label`, reports."""
    if found := _SRUN.search(text):
        number = _SIGNALS.get(found["signal"] or "")
        if found["code"] or number is not None:
            code = -number if number is not None else int(found["code"])
            for rank in _numbers(found["ranks"]):
                yield Exit(rank, code, valid_node(found["node"]))
    elif found := _DEEPSPEED.search(text):
        yield Exit(None, int(found["code"]), label.node)
    elif found := _MPIRUN.search(text):
        code, pid, node = -int(found["signal"]), int(found["pid"]), valid_node(found["node"])
        yield Exit(int(found["rank"]), code, node, pid, first=True)


def _numbers(text: str) -> Iterator[int]:
    """Yield the numbers in `0,4-7`."""
    left = _MAX_RANKS
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            continue
        end = min(int(last or first), int(first) + left - 1, MAX_RANK)
        for number in range(int(first), end + 1):
            left -= 1
            yield number
