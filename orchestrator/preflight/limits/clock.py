"""The clocks: whether the nodes agree on the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NoAnswer,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed
from orchestrator.util.quoting import command_line

_WARN, _FAIL = 0.5, 30.0  # seconds


@dataclass(frozen=True)
class ClockTools:
    """What could set a node's clock; names are some of those that `node/probes/host.py` looks for."""

    systemd: bool
    programs: frozenset[str]
    services: frozenset[str]

    @classmethod
    def parse(cls, raw: Any) -> ClockTools:
        programs, services = map(str, raw["programs"]), map(str, raw["services"])
        return cls(bool(raw["systemd"]), frozenset(programs), frozenset(services))

    def remedy(self) -> tuple[str, tuple[str, ...]]:
        """Return what sets this node's clock right: a sentence, and lines to paste."""
        service = next((name for name in ("chronyd", "chrony") if name in self.services), None)
        if "chronyc" in self.programs and service is not None and self.systemd:
            start = command_line(["systemctl", "enable", "--now", service])
            return "let chrony step the clock now", (start, "chronyc makestep")
        for name in ("ntpsec", "ntp", "ntpd"):
            if name in self.services and self.systemd:
                restart = command_line(["systemctl", "restart", name])
                return "have ntpd look at its servers anew", (restart,)
        if "systemd-timesyncd" in self.services and self.systemd:
            restart = "systemctl restart systemd-timesyncd"
            return "have systemd keep the time", ("timedatectl set-ntp true", restart)
        if not self.systemd:
            return "set the clock of the machine itself: a container has no other", ()
        if "apt-get" in self.programs:
            return "install chrony", ("apt-get install --yes chrony", "chronyc makestep")
        if "dnf" in self.programs:
            start = "systemctl enable --now chronyd"
            return "install chrony", ("dnf install -y chrony", start, "chronyc makestep")
        return "install chrony, or another client of NTP", ()


CLOCK = Probe("host.clock", ClockTools.parse)


@check("clock", Group.LIMITS, Level.QUICK, probes=(CLOCK,))
def check_clock(context: Context) -> list[Finding]:
    """The nodes agree on the time.

    Each node's clock, read in the middle of a question and its answer, against the middle one of all
    clocks, the controller's among them. More than 0.5 s apart warns, more than 30 s fails, beyond what the
    time that the answer took leaves in doubt.

    Clocks that differ spoil the order of logs, make files seem newer than they are, and certificates not
    yet valid. The remedy is for what keeps the time on that node: chrony, ntpd, or systemd.
    """
    skews = {
        name: facts.clock_skew for name, facts in zip(context.names, context.facts, strict=True)
    }
    errors = {
        name: facts.clock_error for name, facts in zip(context.names, context.facts, strict=True)
    }
    votes = sorted([*skews.values(), 0.0])
    middle = votes[(len(votes) - 1) // 2] if len(skews) > 1 else skews[context.names[0]]
    tools = context.of(CLOCK)
    verdicts, good = [], []
    for name, skew in skews.items():
        off, doubt = skew - middle, errors[name]
        data = {"skew": round(off, 3), "doubt": round(doubt, 3), "controller": round(skew, 3)}
        if abs(off) - doubt > _WARN:
            status = Status.FAIL if abs(off) - doubt > _FAIL else Status.WARN
            verdicts.append((name, _wrong(status, off, tools[name], data)))
        elif doubt > _FAIL:
            verdicts.append((name, incomplete(f"its answer took {2 * doubt:.0f} s")))
        else:
            good.append(name)
    if verdicts:
        return to_findings(verdicts)
    return for_all(context, passed(_agreement(skews, errors, middle), data={"controller": -middle}))


def _wrong(
    status: Status, off: float, tools: ClockTools | NoAnswer, data: dict[str, Any]
) -> Verdict:
    way = "ahead of" if off > 0 else "behind"
    text, commands = ("set it right", ()) if isinstance(tools, NoAnswer) else tools.remedy()
    return Verdict(
        status,
        f"has a clock {abs(off):.1f} s {way} the others: time-outs, file times and the order of logs go "
        "wrong",
        text,
        commands,
        data,
    )


def _agreement(skews: dict[str, float], errors: dict[str, float], middle: float) -> str:
    apart = max(abs(skew - middle) + errors[name] for name, skew in skews.items())
    told = f"agree on the time within {max(_WARN, apart):.1f} s"
    if abs(middle) - min(errors.values()) > _WARN:
        way = "behind" if middle > 0 else "ahead of"
        told += f"; this machine's own clock is {abs(middle):.1f} s {way} theirs"
    return told
