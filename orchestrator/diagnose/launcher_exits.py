"""Read how processes ended from what launchers print: torchrun in a summary, others in a line."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import datetime

from orchestrator.diagnose.label import Label
from orchestrator.diagnose.model import Exit
from orchestrator.diagnose.values import MAX_RANK, valid_node, valid_time

MARKERS = (
    "srun: error: ",
    "exits with return code = ",
    " exited on signal ",
    "(exitcode: ",
    ") received by PID ",
    "rocess exited, code=",
    "Exit Code: ",
    "exited with code ",
    "xit code ",
    "exit status ",
    "died with <Signals.",
    "erminated with signal ",
    "illed by signal ",
    " was sent SIG",
)
"""A line that reports an exit contains one of these."""
SUMMARY_OPENERS = ("Failures:", "Root Cause (first observed failure):")
"""The lines after which torchrun lists ranks that failed."""

_MAX_RANKS = 4096  # of one line
_MAX_SUMMARY_LINES = 20_000

_SRUN = re.compile(
    r"srun: error: (?P<node>[\w.-]{1,253}): tasks? (?P<ranks>[\d,-]{1,400}): "
    r"(?:Exited with exit code (?P<code>\d{1,3})$|(?P<signal>[A-Z][A-Za-z ]{2,40})(?: \(core dumped\))?$)"
)
_DEEPSPEED = re.compile(r"sigkill_handler\] .*exits with return code = (?P<code>-?\d{1,3})$")
_MPIRUN = re.compile(
    r"process rank (?P<rank>\d{1,7}) with PID (?P<pid>\d{1,10}) on node (?P<node>\S{1,253}) "
    r"exited on signal (?P<signal>\d{1,2})"
)
_TORCHRUN = re.compile(
    r"failed \(exitcode: (?P<code>-?\d{1,3})\) local_rank: \d{1,7} \(pid: (?P<pid>\d{1,10})\)"
)
_BY_PID = re.compile(
    r"\bSignal (?P<signal>\d{1,2}) \(SIG\w{2,8}\) received by PID (?P<pid>\d{1,10})"
)
_SYSTEMD = re.compile(
    r"rocess exited, code=(?P<how>exited|killed|dumped), status=(?P<code>\d{1,3})"
)
# Kubernetes, docker, shells, subprocess, Lightning, gunicorn; of a code only if it stands for a signal.
_CODE = re.compile(
    r"\b(?:[Ee]xit(?:ed)? (?:with )?(?:[Cc]ode|status)(?: is)?|exited with(?: return)? code)"
    r"(?: ?[:=])? {0,12}(?P<code>-\d{1,2}|1[2-9]\d|2[45]\d)\b"
)
_SIGNAL = re.compile(
    r"(?:died with <Signals\.|erminated with signal |illed by signal |was sent )"
    r"(?:(?P<name>SIG[A-Z]{2,6})|(?P<signal>\d{1,2}))\b"
)
_FIELD = re.compile(r"  (?P<name>time|host|rank|exitcode) {1,8}: (?P<value>.{1,300})")
_EXITCODE = re.compile(r"(?P<code>-?\d{1,4}) \(pid: (?P<pid>\d{1,10})\)")
# Slurm prints the words of strsignal(3), and one phrase of its own.
_SIGNALS = {signal.strsignal(number): int(number) for number in signal.valid_signals()}
_SIGNALS["Out Of Memory"] = int(signal.SIGKILL)
# Of these, `sys.exit(-N)` is not common for another reason.
_PASSED_ON = {
    *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM),
}


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
    elif found := _TORCHRUN.search(text):
        yield Exit(None, int(found["code"]), label.node, int(found["pid"]))
    elif found := _BY_PID.search(text):
        yield Exit(label.rank, -int(found["signal"]), label.node, int(found["pid"]))
    elif found := _SYSTEMD.search(text):
        code = int(found["code"])
        yield Exit(label.rank, code if found["how"] == "exited" else -code, label.node)
    elif (found := _CODE.search(text)) and signal_of(code := int(found["code"])) is not None:
        yield Exit(label.rank, code, label.node)
    elif found := _SIGNAL.search(text):
        number = int(found["signal"] or getattr(signal, found["name"] or "", 0))
        if number:
            yield Exit(label.rank, -number, label.node)


def signal_of(code: int) -> int | None:
    """Return the signal of an exit code, None if there is none: -9, 137 and, if a program exits with -9,
    as DeepSpeed's launcher does, 247.
    """
    if code < 0:
        return -code
    if 256 - code in _PASSED_ON:
        return 256 - code
    return code - 128 if 128 < code <= 128 + 64 else None


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


class Summary:
    """Reads lines from an opener on and returns how each rank ended; `last`: from the last opener on."""

    def __init__(self, last: bool) -> None:
        self.reading = True
        self._is_root_cause = last
        self._lines = 0
        self._fields: dict[str, str] = {}

    def feed(self, text: str) -> Exit | None:
        """Return the exit that this line completes."""
        self._lines += 1
        if text.startswith("====") or self._lines > _MAX_SUMMARY_LINES:
            self.reading = False
            return None
        if text == SUMMARY_OPENERS[-1]:
            self._is_root_cause = True
        found = _FIELD.match(text)
        if not found:
            return None
        self._fields[found["name"]] = found["value"].strip()
        return self._exit() if found["name"] == "exitcode" else None

    def _exit(self) -> Exit | None:
        fields, self._fields = self._fields, {}
        ended = _EXITCODE.match(fields["exitcode"])
        rank = re.match(r"\d{1,7}", fields.get("rank", ""))
        if not ended or not rank:
            return None
        return Exit(
            rank=int(rank[0]),
            code=int(ended["code"]),
            node=valid_node(fields.get("host")),
            pid=int(ended["pid"]),
            time=_summary_time(fields.get("time", "")),
            first=self._is_root_cause,
        )


def _summary_time(text: str) -> float | None:
    """Return a time of the host's clock and zone, which cannot be compared with hosts in other zones."""
    try:
        return valid_time(datetime.strptime(text, "%Y-%m-%d_%H:%M:%S").timestamp())
    except (ValueError, OverflowError, OSError):  # a 13th month, a year that the platform lacks
        return None
