"""Whether the clock of a node was set while a rank ran, or differs from those of other nodes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject
from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe

_STEP = 2.0  # seconds: clocks are also corrected without being set
_APART = 5.0  # seconds between two nodes
_SET = "run an NTP service on every node, and see why it set the clock: `chronyc tracking` or `timedatectl`"


@dataclass(frozen=True)
class ClockStep:
    """By how many seconds the clock was set since the rank began; None if unknown."""

    step: float | None


CLOCK: Probe[ClockStep] = Probe("setting.clock", reader(ClockStep))


def judge(subject: Subject, known: Known) -> Finding:
    """Return whether clocks explain the failure."""
    answer, looked = known.of(CLOCK), []
    step = None if isinstance(answer, NoAnswer) else answer.step
    if isinstance(answer, NoAnswer):
        looked.append(f"clock: could not be looked at ({answer.reason})")
    elif step is None:
        looked.append("clock: it was not noted when the rank began")
    else:
        looked.append(f"clock: set by {step:+.1f} s since the rank began")
    apart, names = _apart(subject)
    if len(subject.skews) > 1:
        looked.append(f"clocks of the nodes: {apart:.1f} s apart at most")
    if step is not None and abs(step) > _STEP:
        cause = Cause(
            f"the clock of {subject.node.name} was set by {step:+.1f} s while the rank ran: waits that are "
            "measured by the wall clock end at once, or much later",
            _SET,
        )
        return Finding(tuple(looked), cause)
    if apart > _APART:
        cause = Cause(
            f"the clocks of {names} are {apart:.1f} s apart: torchrun's agents take each other for dead",
            "set them: run an NTP service on every node (`systemctl enable --now chrony`)",
        )
        return Finding(tuple(looked), cause)
    return Finding(tuple(looked))


def _apart(subject: Subject) -> tuple[float, str]:
    """Return the largest difference between the clocks of two nodes, and which nodes those are."""
    if not subject.skews:
        return 0.0, ""
    first = min(subject.skews, key=lambda name: subject.skews[name])
    last = max(subject.skews, key=lambda name: subject.skews[name])
    return subject.skews[last] - subject.skews[first], f"{first} and {last}"


CLOCKS_LOOK = Look("clocks", (CLOCK,), lambda subject: {CLOCK.name: subject.record}, judge)
